#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "headscope/error.h"
#include "headscope/tokenizer.h"
#include "tokenizers/gguf_json.h"
#include "tokenizers/gguf_patterns.h"
#include "tokenizers/kinds.h"
#include "tokenizers/precompiled.h"
#include "tokenizers/sentencepiece_file.h"
#include "tokenizers/token_trie.h"
#include "tokenizers/tokenizer_parts.h"
#include "tokenizers/unicode.h"

namespace headscope {

using namespace tokenizers;  // NOLINT: the parts of this very class

namespace {

using json::Value;

/// Kinds of tokens in tokenizer.ggml.token_type are those of SentencePiece.
using Type = SentencePieceFile::Type;

constexpr const char* kMark = "\u2581";  // what SentencePiece writes for a space

/// The vocabulary of a GGUF file, as the parts of a tokenizer.json that would do the same.
class GgufVocabulary {
 public:
  GgufVocabulary(const Value& metadata, std::string_view name) : metadata_(metadata), name_(name) {
    read_tokens();
    read_types();
  }

  ModelParts model;
  Value root = Value::object();

  void make() {
    const auto kind = json::require<std::string>(metadata_, key("model"), name_);
    using Make = void (GgufVocabulary::*)();
    static constexpr std::array<Kind<Make>, 4> kinds{{{"gpt2", &GgufVocabulary::make_byte_level},
                                                      {"llama", &GgufVocabulary::make_spm},
                                                      {"bert", &GgufVocabulary::make_bert},
                                                      {"t5", &GgufVocabulary::make_unigram}}};
    (this->*find_kind(kinds, kind, key("model"), name_).make)();
    if (!root.contains("added_tokens")) add_tokens();
  }

 private:
  static std::string key(std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); }

  [[nodiscard]] const Value* array(std::string_view of) const {
    const Value* found = json::find(metadata_, key(of), name_);
    if (found == nullptr || found->is_array()) return found;
    throw Error(
        ErrorCode::kFormat,
        fmt::format(
            "[{}] expected {} to be an array, found {}", name_, key(of), json::describe(*found)));
  }

  [[nodiscard]] std::string_view text(const Value& value,
                                      std::string_view of,
                                      std::size_t i) const {
    if (value.is_string()) {
      const std::string_view found = value.get_ref<const std::string&>();
      std::size_t at = 0;
      while (at < found.size() && next_utf8(found, at) != kNotUtf8) continue;
      if (at == found.size()) return found;
    }
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {}[{}] to be a text in UTF-8, found {}",
                            name_,
                            key(of),
                            i,
                            value.is_string() ? "other bytes" : json::describe(value)));
  }

  void read_tokens() {
    const Value* list = array("tokens");
    if (list == nullptr) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[{}] expected {}, found nothing under that key", name_, key("tokens")));
    }
    model.vocab.emplace();
    model.vocab->reserve(list->size());
    for (std::size_t i = 0; i < list->size(); ++i) {
      model.vocab->push_back({text((*list)[i], "tokens", i), static_cast<std::int64_t>(i), 0});
    }
  }

  /// An array with an entry for each token, or null.
  [[nodiscard]] const Value* per_token(std::string_view of) const {
    const Value* list = array(of);
    if (list == nullptr || list->size() == model.vocab->size()) return list;
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} to have an entry for each of {} tokens, found {}",
                            name_,
                            key(of),
                            model.vocab->size(),
                            list->size()));
  }

  void read_types() {
    types_.assign(model.vocab->size(), Type::kNormal);
    const Value* list = per_token("token_type");
    for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
      types_[i] = static_cast<Type>(json::as<std::int32_t>((*list)[i], key("token_type"), name_));
    }
  }

  void read_scores() {
    const Value* list = per_token("scores");
    if (list == nullptr) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[{}] expected {}, found nothing under that key", name_, key("scores")));
    }
    for (std::size_t i = 0; i < list->size(); ++i) {
      (*model.vocab)[i].score = json::as<double>((*list)[i], key("scores"), name_);
    }
  }

  /// The id under a key like bos_token_id; `fallback` (-1: none) when it is not there.
  [[nodiscard]] std::int32_t special_id(std::string_view of, std::int32_t fallback) const {
    const auto id = json::get_or<std::int64_t>(metadata_, key(of), fallback, name_);
    const auto size = static_cast<std::int64_t>(model.vocab->size());
    if (id >= 0 && id < size) return static_cast<std::int32_t>(id);
    if (id == fallback || id == std::numeric_limits<std::uint32_t>::max()) return -1;
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} to be the id of one of {} tokens, found {}",
                            name_,
                            key(of),
                            size,
                            id));
  }

  [[nodiscard]] bool flag(std::string_view of, bool fallback) const {
    return json::get_or<bool>(metadata_, key(of), fallback, name_);
  }

  [[nodiscard]] std::string token(std::int32_t id) const {
    return std::string((*model.vocab)[static_cast<std::size_t>(id)].token);
  }

  /// Control and unknown tokens are special; those of users are found in texts too.
  void add_tokens() {
    Value list = Value::array();
    for (std::size_t i = 0; i < types_.size(); ++i) {
      const bool special = types_[i] == Type::kControl || types_[i] == Type::kUnknown;
      if (!special && types_[i] != Type::kUserDefined) continue;
      list.push_back({{"id", i},
                      {"content", std::string((*model.vocab)[i].token)},
                      {"special", special},
                      {"normalized", false}});
    }
    root["added_tokens"] = std::move(list);
  }

  /// Tokens before and behind a text.
  void put_around(bool before, std::int32_t first, bool behind, std::int32_t last) {
    Value specials = Value::object();
    const auto step = [&](std::int32_t id, int type_id) -> Value {
      if (id < 0) {
        throw Error(ErrorCode::kFormat,
                    fmt::format("[{}] expected the id of the token that is put around texts, found "
                                "none",
                                name_));
      }
      specials[token(id)] = {{"id", token(id)}, {"ids", {id}}, {"tokens", {token(id)}}};
      return {{"SpecialToken", {{"id", token(id)}, {"type_id", type_id}}}};
    };
    const auto around = [&](Value& list, const char* sequence, int type_id) {
      if (before) list.push_back(step(first, type_id));
      list.push_back({{"Sequence", {{"id", sequence}, {"type_id", type_id}}}});
      if (behind) list.push_back(step(last, type_id));
    };
    Value single = Value::array();
    Value pair = Value::array();
    around(single, "A", 0);
    around(pair, "A", 0);
    around(pair, "B", 1);
    root["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", std::move(single)},
                              {"pair", std::move(pair)},
                              {"special_tokens", std::move(specials)}};
  }

  void make_byte_level() {
    const auto pre = json::get_or<std::string>(metadata_, key("pre"), "default", name_);
    const GgufPattern& pattern = gguf_pattern(pre, name_);
    Value steps = Value::array();
    for (const std::string_view regex : pattern.regexes) {
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", std::string(regex)}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    }
    steps.push_back({{"type", "ByteLevel"},
                     {"add_prefix_space", flag("add_space_prefix", false)},
                     {"use_regex", false}});
    root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
    root["decoder"] = {{"type", "ByteLevel"}};
    model.options = {{"type", "BPE"}, {"ignore_merges", pattern.ignore_merges}};
    read_merges();
    const bool bos = flag("add_bos_token", pattern.add_bos);
    const bool eos = flag("add_eos_token", false);
    if (bos || eos) {
      put_around(bos, special_id("bos_token_id", -1), eos, special_id("eos_token_id", -1));
    }
  }

  void read_merges() {
    const Value* list = array("merges");
    if (list == nullptr) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[{}] expected {}, found nothing under that key", name_, key("merges")));
    }
    model.merges.emplace();
    model.merges->reserve(list->size());
    for (std::size_t i = 0; i < list->size(); ++i) {
      const std::string_view line = text((*list)[i], "merges", i);
      const std::size_t space = line.find(' ', 1);
      if (space == line.npos || space + 1 == line.size()) {
        throw Error(ErrorCode::kFormat,
                    fmt::format("[{}] expected {}[{}] to be two tokens, found {}",
                                name_,
                                key("merges"),
                                i,
                                json::quote(line)));
      }
      model.merges->push_back(
          {line.substr(0, space), line.substr(space + 1), static_cast<std::uint32_t>(i)});
    }
  }

  /// SentencePiece merges whatever two neighbours make a token, the best score first.
  void make_spm() {
    read_scores();
    const std::int32_t unknown = special_id("unknown_token_id", 0);
    model.options = {{"type", "BPE"}, {"fuse_unk", true}, {"byte_fallback", true}};
    if (unknown >= 0) model.options["unk_token"] = token(unknown);
    model.merges = merges_by_score();
    const bool prefix = flag("add_space_prefix", true);
    Value steps = Value::array();
    if (prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kMark}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kMark}});
    root["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
    Value back = Value::array();
    back.push_back({{"type", "Replace"}, {"pattern", {{"String", kMark}}}, {"content", " "}});
    back.push_back({{"type", "ByteFallback"}});
    back.push_back({{"type", "Fuse"}});
    if (prefix) back.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    root["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(back)}};
    const bool bos = flag("add_bos_token", true);
    const bool eos = flag("add_eos_token", false);
    if (bos || eos)
      put_around(bos, special_id("bos_token_id", 1), eos, special_id("eos_token_id", 2));
  }

  [[nodiscard]] std::vector<ModelParts::Merge> merges_by_score() const {
    const auto made_by_merges = [this](std::size_t i) {
      return types_[i] == Type::kNormal || types_[i] == Type::kUserDefined ||
             types_[i] == Type::kUnused;
    };
    std::vector<TokenEntry> usable;
    std::vector<double> scores;
    for (std::size_t i = 0; i < types_.size(); ++i) {
      if (!made_by_merges(i)) continue;
      usable.push_back((*model.vocab)[i]);
      scores.push_back(usable.back().score);
    }
    std::sort(scores.begin(), scores.end(), std::greater<>());
    scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
    const Vocabulary known(usable, name_);
    std::vector<ModelParts::Merge> out;
    for (const TokenEntry& entry : usable) {
      const auto rank = static_cast<std::uint32_t>(
          std::lower_bound(scores.begin(), scores.end(), entry.score, std::greater<>()) -
          scores.begin());
      if (entry.token.size() > 4 * kMaxTokenLength) continue;  // no text is merged that far
      for (std::size_t at = 1; at < entry.token.size(); ++at) {
        if ((static_cast<unsigned char>(entry.token[at]) & 0xC0) == 0x80) continue;
        const std::string_view left = entry.token.substr(0, at);
        const std::string_view right = entry.token.substr(at);
        if (known.id_of(left) < 0 || known.id_of(right) < 0) continue;
        out.push_back({left, right, rank});
      }
    }
    return out;
  }

  /// Tokens that begin a word are written with a mark in front, others without "##".
  void make_bert() {
    spellings_.reserve(model.vocab->size());
    for (std::size_t i = 0; i < types_.size(); ++i) {
      std::string_view& token = (*model.vocab)[i].token;
      const bool special = types_[i] == Type::kControl || types_[i] == Type::kUnknown ||
                           (token.starts_with('[') && token.ends_with(']'));
      if (special) continue;
      if (token.starts_with(kMark)) {
        token.remove_prefix(std::string_view(kMark).size());
      } else {
        spellings_.push_back(fmt::format("##{}", token));
        token = spellings_.back();
      }
    }
    const std::int32_t unknown = special_id("unknown_token_id", 100);
    model.options = {{"type", "WordPiece"}, {"unk_token", unknown < 0 ? "[UNK]" : token(unknown)}};
    root["normalizer"] = {{"type", "BertNormalizer"}};
    root["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
    root["decoder"] = {{"type", "WordPiece"}};
    const std::int32_t cls = special_id("cls_token_id", special_id("bos_token_id", 101));
    const std::int32_t sep = special_id("seperator_token_id", special_id("eos_token_id", 102));
    if (cls >= 0 && sep >= 0) {
      root["post_processor"] = {
          {"type", "BertProcessing"}, {"cls", {token(cls), cls}}, {"sep", {token(sep), sep}}};
    }
  }

  void make_unigram() {
    read_scores();
    model.scored = true;
    const std::int32_t unknown = special_id("unknown_token_id", 2);
    model.options = {{"type", "Unigram"}};
    if (unknown >= 0) model.options["unk_id"] = unknown;
    // Rows that no token has are written as tokens of the worst score.
    for (std::size_t i = 0; i < types_.size(); ++i) {
      const double score = (*model.vocab)[i].score;
      if (types_[i] != Type::kUnused) model.least = std::min(model.least.value_or(score), score);
    }
    Value steps = Value::array();
    if (const Value* table = json::find(metadata_, key("precompiled_charsmap"), name_)) {
      steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", base64(*table)}});
    }
    root["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
    const Value words = {{"type", "WhitespaceSplit"}};
    const Value marks = {{"type", "Metaspace"},
                         {"prepend_scheme", flag("add_space_prefix", true) ? "always" : "never"}};
    root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Value::array({words, marks})}};
    root["decoder"] = marks;
    const bool bos = flag("add_bos_token", false);
    const bool eos = flag("add_eos_token", true);
    if (bos || eos)
      put_around(bos, special_id("bos_token_id", -1), eos, special_id("eos_token_id", 1));
  }

  [[nodiscard]] std::string base64(const Value& bytes) const {
    if (!bytes.is_binary()) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected {} to be bytes, found {}",
                              name_,
                              key("precompiled_charsmap"),
                              json::describe(bytes)));
    }
    return to_base64(bytes.get_binary());
  }

  const Value& metadata_;
  std::string_view name_;
  std::vector<Type> types_;
  std::vector<std::string> spellings_;  // of tokens that the file writes in another way
};

/// Fills in what the published reader insists on and ours takes for granted.
void fill(Value& part) {
  if (part.is_object() && part.contains("type") && part["type"].is_string()) {
    static const Value kDefaults = Value::parse(R"({
      "ByteLevel": {"add_prefix_space": false, "trim_offsets": true, "use_regex": false},
      "BertNormalizer": {"clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                         "lowercase": true},
      "WordPiece": {"prefix": "##", "cleanup": true, "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 100},
      "Metaspace": {"replacement": "\u2581", "prepend_scheme": "always", "split": true},
      "BPE": {"dropout": null, "unk_token": null, "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
              "ignore_merges": false},
      "Unigram": {"unk_id": null, "byte_fallback": false}})");
    const auto found = kDefaults.find(part["type"].get<std::string>());
    if (found != kDefaults.end()) {
      for (const auto& [key, value] : found->items()) {
        if (!part.contains(key)) part[key] = value;
      }
    }
  }
  for (Value& inner : part) {
    if (inner.is_structured()) fill(inner);
  }
}

Value complete(Value root) {
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    if (!root.contains(key)) root[key] = nullptr;
    if (root[key].is_structured()) fill(root[key]);
  }
  Value model = std::move(root["model"]);
  Value vocab = std::move(model["vocab"]);
  model.erase("vocab");
  Value merges = model.contains("merges") ? std::move(model["merges"]) : Value();
  model.erase("merges");
  fill(model);
  model["vocab"] = std::move(vocab);
  if (!merges.is_null()) model["merges"] = std::move(merges);
  root["model"] = std::move(model);
  root["version"] = "1.0";
  root["truncation"] = nullptr;
  root["padding"] = nullptr;
  for (Value& token : root["added_tokens"]) {
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
      if (!token.contains(flag)) token[flag] = false;
    }
  }
  return root;
}

}  // namespace

json::Value tokenizers::gguf_json(const json::Value& metadata, std::string_view name) {
  GgufVocabulary vocabulary(metadata, name);
  vocabulary.make();
  Value& root = vocabulary.root;
  Value& model = root["model"];
  model = vocabulary.model.options;
  Value& vocab = model["vocab"];
  for (const TokenEntry& entry : *vocabulary.model.vocab) {
    if (vocabulary.model.scored)
      vocab.push_back({std::string(entry.token), entry.score});
    else
      vocab[std::string(entry.token)] = entry.id;
  }
  if (vocabulary.model.merges) {
    auto& merges = *vocabulary.model.merges;
    std::stable_sort(
        merges.begin(), merges.end(), [](const auto& a, const auto& b) { return a.rank < b.rank; });
    Value& list = model["merges"] = Value::array();
    for (const auto& merge : merges)
      list.push_back({std::string(merge.left), std::string(merge.right)});
  }
  return complete(std::move(root));
}

Tokenizer Tokenizer::from_gguf(const nlohmann::json& metadata, std::string_view name) {
  GgufVocabulary vocabulary(metadata, name);
  vocabulary.make();
  auto parts = std::make_unique<Parts>();
  parts->model = make_model(vocabulary.model, name);
  parts->make(vocabulary.root, name);
  return Tokenizer(std::move(parts));
}

}  // namespace headscope
