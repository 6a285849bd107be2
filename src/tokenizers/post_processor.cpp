#include "tokenizers/post_processor.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tokenizers/kinds.h"

namespace headscope::tokenizers {
namespace {

using Made = std::unique_ptr<const PostProcessor>;

struct SpecialToken {
  std::int32_t id = 0;
  std::string token;
};

void append_special(Encoding& out, const SpecialToken& special, std::int32_t type_id) {
  out.ids.push_back(special.id);
  out.type_ids.push_back(type_id);
  out.offsets.push_back({});
  out.tokens.push_back(special.token);
  out.words.push_back(-1);
  out.special.push_back(1);
}

std::int32_t read_id(const json::Value& value, std::string_view what, std::string_view where) {
  const auto id = json::as<std::int32_t>(value, what, where);
  if (id >= 0) return id;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected {} to be at least 0, found {}", where, what, id));
}

SpecialToken read_special(const json::Value& part, std::string_view key, std::string_view where) {
  const json::Value& pair = require_array(part, key, where);
  if (pair.size() != 2) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format(
            "[{}] expected \"{}\" to be [token, id], found {} values", where, key, pair.size()));
  }
  return {read_id(pair[1], key, where), json::as<std::string>(pair[0], key, where)};
}

/// [CLS] first [SEP], or [CLS] first [SEP] second [SEP].
class Bert : public PostProcessor {
 public:
  Bert(const json::Value& part, std::string_view where)
      : cls_(read_special(part, "cls", where)), sep_(read_special(part, "sep", where)) {}

  [[nodiscard]] Encoding join(Encoding first, Encoding* second, bool add_special) const override {
    Encoding out;
    if (add_special) append_special(out, cls_, 0);
    append(out, std::move(first));
    if (add_special) append_special(out, sep_, 0);
    if (second == nullptr) return out;
    append(out, std::move(*second));
    if (add_special) append_special(out, sep_, 1);
    return out;
  }

 private:
  SpecialToken cls_, sep_;
};

TrimOffsets read_trim(const json::Value& part, std::string_view where) {
  return {json::get_or<bool>(part, "trim_offsets", true, where),
          json::get_or<bool>(part, "add_prefix_space", true, where)};
}

/// Only trims offsets.
class ByteLevel : public PostProcessor {
 public:
  ByteLevel(const json::Value& part, std::string_view where) : trim_(read_trim(part, where)) {}
  [[nodiscard]] Encoding join(Encoding first,
                              Encoding* second,
                              bool /*add_special*/) const override {
    Encoding out = std::move(first);
    if (second != nullptr) append(out, std::move(*second));
    return out;
  }
  [[nodiscard]] TrimOffsets trim() const override { return trim_; }
  [[nodiscard]] bool joins() const override { return false; }

 private:
  TrimOffsets trim_;
};

/// <s> first </s>, or <s> first </s> </s> second </s>. There is no second type of token.
class Roberta : public PostProcessor {
 public:
  Roberta(const json::Value& part, std::string_view where)
      : cls_(read_special(part, "cls", where)),
        sep_(read_special(part, "sep", where)),
        trim_(read_trim(part, where)) {}

  [[nodiscard]] Encoding join(Encoding first, Encoding* second, bool add_special) const override {
    Encoding out;
    if (add_special) append_special(out, cls_, 0);
    append(out, std::move(first));
    if (add_special) append_special(out, sep_, 0);
    if (second != nullptr) {
      if (add_special) append_special(out, sep_, 0);
      append(out, std::move(*second));
      if (add_special) append_special(out, sep_, 0);
    }
    std::fill(out.type_ids.begin(), out.type_ids.end(), 0);
    return out;
  }
  [[nodiscard]] TrimOffsets trim() const override { return trim_; }

 private:
  SpecialToken cls_, sep_;
  TrimOffsets trim_;
};

class Template : public PostProcessor {
 public:
  Template(const json::Value& part, std::string_view where) : where_(where) {
    if (const auto* specials = json::find(part, "special_tokens", where)) read_specials(*specials);
    single_ = read_template(require_array(part, "single", where), "single");
    pair_ = read_template(require_array(part, "pair", where), "pair");
  }

  [[nodiscard]] Encoding join(Encoding first, Encoding* second, bool add_special) const override {
    Encoding out;
    for (const Step& step : second == nullptr ? single_ : pair_) {
      if (step.text == 0) {
        if (!add_special) continue;
        for (const SpecialToken& one : specials_.at(step.special)) {
          append_special(out, one, step.type_id);
        }
        continue;
      }
      const std::size_t before = out.ids.size();
      append(out, std::move(step.text == 1 ? first : *second));
      std::fill(out.type_ids.begin() + static_cast<std::ptrdiff_t>(before),
                out.type_ids.end(),
                step.type_id);
    }
    return out;
  }

 private:
  /// A special token, or the first or second text.
  struct Step {
    int text = 0;  ///< 0 none, 1 first, 2 second
    std::string special;
    std::int32_t type_id = 0;
  };

  void read_specials(const json::Value& object) {
    if (!object.is_object()) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected \"special_tokens\" to be an object, found {}",
                              where_,
                              json::describe(object)));
    }
    for (const auto& [name, entry] : object.items()) {
      const json::Value& ids = require_array(entry, "ids", where_);
      const auto tokens = json::require<std::vector<std::string>>(entry, "tokens", where_);
      if (ids.size() != tokens.size()) {
        throw Error(ErrorCode::kFormat,
                    fmt::format("[{}] expected as many ids as tokens for special token \"{}\", "
                                "found {} and {}",
                                where_,
                                name,
                                ids.size(),
                                tokens.size()));
      }
      std::vector<SpecialToken>& all = specials_[name];
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        all.push_back({read_id(ids[i], name, where_), tokens[i]});
      }
    }
  }

  std::vector<Step> read_template(const json::Value& list, std::string_view name) const {
    std::vector<Step> steps;
    std::array<int, 3> uses{};
    for (const json::Value& piece : list) {
      steps.push_back(read_step(piece));
      ++uses[static_cast<std::size_t>(steps.back().text)];
    }
    const int second = name == "pair" ? 1 : 0;
    if (uses[1] != 1 || uses[2] != second) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[{}] expected the template \"{}\" to hold the first text once and "
                              "the second {}, found {} and {} times",
                              where_,
                              name,
                              second == 1 ? "once" : "never",
                              uses[1],
                              uses[2]));
    }
    return steps;
  }

  Step read_step(const json::Value& piece) const {
    Step step;
    if (const json::Value* text = json::find(piece, "Sequence", where_)) {
      const auto id = json::require<std::string>(*text, "id", where_);
      if (id != "A" && id != "B") {
        throw Error(ErrorCode::kFormat,
                    fmt::format("[{}] expected a Sequence A or B, found \"{}\"", where_, id));
      }
      step.text = id == "A" ? 1 : 2;
      step.type_id = read_id(require_part(*text, "type_id", where_), "type_id", where_);
      return step;
    }
    const json::Value& token = require_part(piece, "SpecialToken", where_);
    step.special = json::require<std::string>(token, "id", where_);
    step.type_id = read_id(require_part(token, "type_id", where_), "type_id", where_);
    if (!specials_.contains(step.special)) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected special token \"{}\" of a template among its "
                              "special_tokens, found {} others",
                              where_,
                              step.special,
                              specials_.size()));
    }
    return step;
  }

  std::string where_;
  std::map<std::string, std::vector<SpecialToken>> specials_;
  std::vector<Step> single_, pair_;
};

class Sequence : public PostProcessor {
 public:
  Sequence(const json::Value& part, std::string_view where) {
    for (const json::Value& one : require_array(part, "processors", where)) {
      steps_.push_back(make_post_processor(one, where));
      if (!trim_.on) trim_ = steps_.back()->trim();
      if (!steps_.back()->joins()) continue;
      if (joining_ != nullptr) {
        throw Error(ErrorCode::kUnsupported,
                    fmt::format("[{}] expected one post_processor of a Sequence to put tokens "
                                "around texts, found two",
                                where));
      }
      joining_ = steps_.back().get();
    }
    if (joining_ != nullptr) return;
    plain_ = std::make_unique<const ByteLevel>(json::Value::object(), where);
    joining_ = plain_.get();
  }
  [[nodiscard]] Encoding join(Encoding first, Encoding* second, bool add_special) const override {
    return joining_->join(std::move(first), second, add_special);
  }
  [[nodiscard]] TrimOffsets trim() const override { return trim_; }
  [[nodiscard]] bool joins() const override { return joining_ != plain_.get(); }

 private:
  std::vector<Made> steps_;
  Made plain_;  // one text behind the other, where no step does more
  const PostProcessor* joining_ = nullptr;
  TrimOffsets trim_;
};

template <typename T>
Made make(const json::Value& part, std::string_view where) {
  return std::make_unique<const T>(part, where);
}

}  // namespace

void append(Encoding& out, Encoding more) {
  if (out.ids.empty()) {
    out = std::move(more);
    return;
  }
  out.ids.insert(out.ids.end(), more.ids.begin(), more.ids.end());
  out.type_ids.insert(out.type_ids.end(), more.type_ids.begin(), more.type_ids.end());
  out.offsets.insert(out.offsets.end(), more.offsets.begin(), more.offsets.end());
  out.tokens.insert(out.tokens.end(),
                    std::make_move_iterator(more.tokens.begin()),
                    std::make_move_iterator(more.tokens.end()));
  out.words.insert(out.words.end(), more.words.begin(), more.words.end());
  out.special.insert(out.special.end(), more.special.begin(), more.special.end());
}

Made make_post_processor(const json::Value& part, std::string_view where) {
  using Make = Made (*)(const json::Value&, std::string_view);
  static constexpr std::array<Kind<Make>, 5> kinds{{{"BertProcessing", &make<Bert>},
                                                    {"ByteLevel", &make<ByteLevel>},
                                                    {"RobertaProcessing", &make<Roberta>},
                                                    {"Sequence", &make<Sequence>},
                                                    {"TemplateProcessing", &make<Template>}}};
  const auto type = json::require<std::string>(part, "type", where);
  return find_kind(kinds, type, "post_processor", where).make(part, where);
}

}  // namespace headscope::tokenizers
