#include "train/recipe.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "formats/edit_distance.h"
#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "train/material.h"
#include "train/recipe_model.h"

namespace headscope::train {

namespace {

namespace fs = std::filesystem;

constexpr std::pair<const char*, Objective> kObjectives[] = {
    {"causal", Objective::kCausal},
    {"masked", Objective::kMasked},
    {"masked-endings", Objective::kMaskedEndings},
    {"pictures", Objective::kPictures},
    {"tunes", Objective::kTunes},
    {"tables", Objective::kTables},
    {"moving", Objective::kMoving}};

struct Place {
  std::string file;
  toml::source_region region;
};

Error wrong(const Place& place, std::string_view expected, std::string_view found) {
  return Error(ErrorCode::kFormat,
               fmt::format("[{}:{}:{}] expected {}, found {}",
                           place.file,
                           place.region.begin.line,
                           place.region.begin.column,
                           expected,
                           found));
}

std::string describe(const toml::node& node) {
  if (const auto* text = node.as_string()) return json::quote(text->get());
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  if (node.is_table()) return "a table";
  return node.is_array() ? "an array" : "a date or time";
}

/// What may be a key or a value of a message.
std::set<std::string> words_of(std::string_view message) {
  const auto inside = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
  };
  std::set<std::string> out;
  for (std::size_t at = 0; at < message.size(); ++at) {
    const std::size_t begin = at;
    while (at < message.size() && inside(message[at])) ++at;
    std::string word(message.substr(begin, at - begin));
    while (word.ends_with('.')) word.pop_back();
    if (!word.empty()) out.insert(std::move(word));
  }
  return out;
}

/// One table of a recipe, which remembers what was asked for: the rest is unknown.
class Table {
 public:
  Table(std::string file, const toml::table* table, std::string name)
      : file_(std::move(file)), table_(table), name_(std::move(name)) {}

  [[nodiscard]] bool given() const { return table_ != nullptr; }
  [[nodiscard]] Place place(const toml::node& node) const { return {file_, node.source()}; }
  [[nodiscard]] Place place() const {
    return {file_, table_ != nullptr ? table_->source() : toml::source_region{{1, 1}, {1, 1}, {}}};
  }

  /// Of a key's value, else of the table.
  [[nodiscard]] Place place(const std::string& key) const {
    const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
    return node == nullptr ? place() : place(*node);
  }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::vector<std::string> keys() const {
    std::vector<std::string> out;
    if (table_ == nullptr) return out;
    for (const auto& [key, node] : *table_) out.emplace_back(key.str());
    return out;
  }

  /// The key that a message is about: the only one that it names, else one whose value and part of
  /// whose name it says ("7 heads": num_attention_heads = 7). "" where there is none.
  [[nodiscard]] std::string about(std::string_view message) const {
    const std::set<std::string> words = words_of(message);
    std::vector<std::string> named;
    std::string told;
    for (const std::string& key : keys()) {
      if (words.contains(key)) named.push_back(key);
      if (!told.empty() || !words.contains(describe(*table_->get(key)))) continue;
      for (std::size_t at = 0; at < key.size();) {
        const std::size_t end = std::min(key.size(), key.find('_', at));
        if (end - at > 3 && words.contains(key.substr(at, end - at))) told = key;
        at = end + 1;
      }
    }
    if (named.size() == 1) return named.front();
    return named.empty() ? told : "";
  }

  /// Keys that are known though nobody has asked for them yet.
  void know(std::initializer_list<const char*> keys) {
    for (const char* key : keys) known_.insert(key);
  }

  const toml::node* find(const std::string& key) {
    known_.insert(key);
    return table_ == nullptr ? nullptr : table_->get(key);
  }

  Table table(const std::string& key) {
    const toml::node* node = find(key);
    if (node != nullptr && !node->is_table())
      throw wrong(place(*node), '[' + key + ']', describe(*node));
    return {file_, node == nullptr ? nullptr : node->as_table(), key};
  }

  /// Names a key that is nearly this one, where there is one: [model] may hold any.
  [[noreturn]] void missing(const std::string& key, std::string_view what) const {
    for (const std::string& found : keys()) {
      if (known_.contains(found) || edit_distance(found, key) > 2) continue;
      throw wrong({file_, key_source(found)}, key, json::quote(found));
    }
    const std::string inside = name_.empty() ? std::string("the recipe") : '[' + name_ + ']';
    throw wrong(place(), fmt::format("{} = {} in {}", key, what, inside), "no such key");
  }

  /// A text, one of `allowed` when that is not empty.
  std::optional<std::string> text(const std::string& key,
                                  const std::vector<std::string>& allowed = {}) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    const auto* value = node->as_string();
    const bool fits = value != nullptr && !value->get().empty() &&
                      (allowed.empty() ||
                       std::find(allowed.begin(), allowed.end(), value->get()) != allowed.end());
    if (!fits) {
      const std::string expected =
          allowed.empty() ? "a text" : fmt::format("one of {}", fmt::join(allowed, ", "));
      throw wrong(place(*node), key + " to be " + expected, describe(*node));
    }
    return value->get();
  }

  void integer(const std::string& key, std::int64_t& value, std::int64_t least, std::int64_t most) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* number = node->as_integer();
    if (number == nullptr || number->get() < least || number->get() > most) {
      throw wrong(place(*node),
                  fmt::format("{} to be a whole number from {} to {}", key, least, most),
                  describe(*node));
    }
    value = number->get();
  }

  void truth(const std::string& key, bool& value) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* found = node->as_boolean();
    if (found == nullptr) throw wrong(place(*node), key + " to be true or false", describe(*node));
    value = found->get();
  }

  template <typename T>
  void number(const std::string& key, T& value, double least, double most) {
    const toml::node* node = find(key);
    if (node != nullptr) value = static_cast<T>(as_number(*node, key, least, most));
  }

  [[nodiscard]] double as_number(const toml::node& node,
                                 const std::string& what,
                                 double least,
                                 double most) const {
    const std::optional<double> found = node.value<double>();
    const bool fits = (node.is_integer() || node.is_floating_point()) && found && *found >= least &&
                      *found <= most;
    if (!fits) {
      throw wrong(place(node),
                  fmt::format("{} to be a number from {} to {}", what, least, most),
                  describe(node));
    }
    return *found;
  }

  /// Elements of an array that must hold something.
  const toml::array* array(const std::string& key) {
    const toml::node* node = find(key);
    if (node == nullptr) return nullptr;
    if (!node->is_array() || node->as_array()->empty()) {
      throw wrong(place(*node), key + " to be an array with something in it", describe(*node));
    }
    return node->as_array();
  }

  /// Errors: a key that nobody asked for, with the nearest one that there is.
  void finish() const {
    if (table_ == nullptr) return;
    for (const auto& [key, node] : *table_) {
      const std::string found(key.str());
      if (known_.contains(found)) continue;
      std::string nearest;
      for (const std::string& name : known_) {
        if (nearest.empty() || edit_distance(found, name) < edit_distance(found, nearest))
          nearest = name;
      }
      const bool near = edit_distance(found, nearest) <= 3;
      throw wrong({file_, key.source()},
                  near ? nearest : fmt::format("one of {}", fmt::join(known_, ", ")),
                  json::quote(found));
    }
  }

 private:
  [[nodiscard]] toml::source_region key_source(const std::string& name) const {
    for (const auto& [key, node] : *table_) {
      if (key.str() == name) return key.source();
    }
    return table_->source();
  }

  std::string file_;
  const toml::table* table_;
  std::string name_;
  std::set<std::string> known_;
};

nlohmann::ordered_json json_of(const toml::node& node, const Table& table) {
  using Json = nlohmann::ordered_json;
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return number->get();
  if (const auto* truth = node.as_boolean()) return truth->get();
  if (const auto* number = node.as_floating_point()) {
    if (std::isfinite(number->get())) return number->get();
  }
  if (const auto* array = node.as_array()) {
    Json out = Json::array();
    for (const toml::node& element : *array) out.push_back(json_of(element, table));
    return out;
  }
  if (const auto* inner = node.as_table()) {
    Json out = Json::object();
    for (const auto& [key, value] : *inner) out[std::string(key.str())] = json_of(value, table);
    return out;
  }
  throw wrong(table.place(node), "what config.json can hold", describe(node));
}

void read_model(Table root, Recipe& recipe) {
  Table model = root.table("model");
  if (!model.given()) root.missing("[model]", "the config.json of a family");
  if (!model.text("model_type")) model.missing("model_type", "\"modernbert\" or another family");
  if (model.array("architectures") == nullptr) {
    model.missing("architectures", "[\"ModernBertForMaskedLM\"] or another head");
  }
  if (const toml::node* taught = model.find("taught_heads"))
    throw wrong(model.place(*taught), "taught heads in [teaching]", "them in [model]");
  recipe.config = json_of(*root.find("model"), model).dump(2);
}

void read_tokenizer(Table table, const fs::path& folder, Recipe& recipe) {
  using Words = Recipe::Words;
  const auto kind = table.text("kind", {"stems", "unigram", "bpe", "file"});
  if (kind) {
    recipe.tokenizer.kind = *kind == "stems"     ? Words::kStems
                            : *kind == "unigram" ? Words::kUnigram
                            : *kind == "bpe"     ? Words::kBpe
                                                 : Words::kFile;
  } else if (recipe.objective == Objective::kMaskedEndings) {
    recipe.tokenizer.kind = Words::kStems;
  }
  const auto file = table.text("file");
  std::int64_t size = recipe.tokenizer.size;
  table.integer("size", size, 32, 1 << 20);
  recipe.tokenizer.size = static_cast<std::int32_t>(size);
  table.finish();
  if (file) recipe.tokenizer.file = folder / *file;
  if (file.has_value() != (recipe.tokenizer.kind == Words::kFile)) {
    throw wrong(
        table.place(), "file in [tokenizer] with kind = \"file\", and only with it", "otherwise");
  }
}

std::vector<fs::path> paths(Table& table, const std::string& key, const fs::path& folder) {
  std::vector<fs::path> out;
  const toml::array* array = table.array(key);
  if (array == nullptr) return out;
  for (const toml::node& node : *array) {
    const auto* text = node.as_string();
    if (text == nullptr || text->get().empty()) {
      throw wrong(table.place(node), key + " to hold names of files", describe(node));
    }
    out.push_back(folder / text->get());
  }
  return out;
}

void read_window(Table& table, Recipe& recipe) {
  table.integer("window", recipe.data.window, 4, 1 << 20);
}

void read_shares(Table& table, Recipe& recipe) {
  auto& data = recipe.data;
  const toml::array* shares = table.array("shares");
  table.finish();
  if (data.train.empty()) return;  // which is said elsewhere
  if (shares == nullptr) {
    data.shares.assign(data.train.size(), 1.0 / static_cast<double>(data.train.size()));
    return;
  }
  double sum = 0.0;
  for (const toml::node& node : *shares) {
    data.shares.push_back(table.as_number(node, "a share", 1e-6, 1e6));
    sum += data.shares.back();
  }
  if (data.shares.size() != data.train.size()) {
    throw wrong(table.place(*shares),
                fmt::format("a share for each of {} files", data.train.size()),
                std::to_string(data.shares.size()));
  }
  for (double& share : data.shares) share /= sum;
}

void read_tables(Table& table, Recipe& recipe) {
  auto& data = recipe.data;
  read_window(table, recipe);
  table.number("held", data.held, 0.0, 0.9);
  table.number("made", data.made, 0.0, 1.0);
  (void)table.find("horizon");
  table.finish();
  table.integer("horizon", data.horizon, 1, data.window - 2);
  if (data.train.empty() != (data.made == 1.0))
    throw wrong(table.place(), "tables in train, or made = 1 and none", "otherwise");
}

void read_moving(Table& table, Recipe& recipe) {
  auto& moving = recipe.data.moving;
  table.integer("step", moving.step, 2, 256);
  table.integer("most", moving.most, 1, 16);
  table.integer("things", moving.things, 1, 64);
  recipe.data.made = recipe.data.train.empty() ? 1.0 : 0.5;
  table.number("made", recipe.data.made, 0.0, 1.0);
  table.finish();
  if (recipe.data.train.empty() != (recipe.data.made == 1.0))
    throw wrong(table.place(), "videos in train, or made = 1 and none", "otherwise");
}

void read_data(Table table, const fs::path& folder, Recipe& recipe) {
  auto& data = recipe.data;
  data.train = paths(table, "train", folder);
  if (recipe.objective == Objective::kMoving) {
    data.shares = {1.0};
    data.window = 1;
    read_moving(table, recipe);
    return;
  }
  if (recipe.objective == Objective::kTables) {
    data.shares = {1.0};
    read_tables(table, recipe);
    return;
  }
  data.valid = paths(table, "valid", folder);
  if (recipe.objective == Objective::kPictures) {
    table.integer("shift", data.change.shift, 0, 64);
    table.truth("mirror", data.change.mirror);
    table.number("still", data.still, 0.0, 1.0);
    data.shares = {1.0};
    data.window = 1;
  } else if (recipe.objective == Objective::kTunes) {
    data.test = paths(table, "test", folder);
    data.shares = {1.0};
    read_window(table, recipe);
    std::int64_t transpose = 0;
    table.integer("transpose", transpose, 0, 24);
    data.transpose = static_cast<int>(transpose);
  } else {
    read_window(table, recipe);
    read_shares(table, recipe);
  }
  table.finish();
  if (data.train.empty()) table.missing("train", "[\"a text.txt\", ...]");
}

// The media.json of a model whose tokens are no text; what it says is checked where it is read.
void read_code(Table& root, Recipe& recipe) {
  const bool wanted =
      recipe.objective == Objective::kTunes || recipe.objective == Objective::kTables;
  const Table code = root.table("code");
  if (code.given() != wanted) {
    throw wrong(code.place(),
                wanted ? "[code], the media.json" : "no [code] for this objective",
                wanted ? "none" : "one");
  }
  if (wanted) recipe.code = json_of(*root.find("code"), code).dump(2) + '\n';
}

void read_hidden_words(Table& table, HiddenWords& words) {
  table.number("endings", words.endings, 0.0, 0.9);
  table.number("stems", words.stems, 0.0, 0.9);
  table.number("words", words.words, 0.0, 0.9);
  table.number("functions", words.functions, 0.0, 0.9);
  table.number("marks", words.marks, 0.0, 0.9);
}

void check_hidden_words(const Place& place, const HiddenWords& words) {
  if (words.endings + words.stems > 1.0) throw wrong(place, "endings + stems of at most 1", "more");
}

void read_hiding(Table table, Recipe& recipe) {
  Hiding& hiding = recipe.hiding;
  if (recipe.objective == Objective::kMoving) {
    table.number("patches", hiding.patches, 0.0, 0.99);
    table.number("halves", hiding.halves, 0.0, 0.99);
    table.finish();
    if (hiding.patches + hiding.halves < 0.01 || hiding.patches + hiding.halves > 1.0)
      throw wrong(table.place(), "patches + halves of .01 to 1", "otherwise");
    return;
  }
  if (recipe.objective != Objective::kMasked && recipe.objective != Objective::kMaskedEndings) {
    if (table.given())
      throw wrong(table.place(), "[hiding] with masked objectives only", "it with another");
    return;
  }
  if (recipe.objective == Objective::kMasked) {
    // Kinds of words are not known then; a word is a word.
    hiding.words = {.endings = 0.0, .stems = 0.0, .words = 0.0, .functions = 0.0, .marks = 0.15};
    table.number("words", hiding.words.marks, 0.0, 0.9);
    hiding.english = hiding.words;
  } else {
    read_hidden_words(table, hiding.words);
    hiding.english = hiding.words;
    Table english = table.table("english");
    read_hidden_words(english, hiding.english);
    english.finish();
  }
  table.number("masked", hiding.masked, 0.0, 1.0);
  table.number("replaced", hiding.replaced, 0.0, 1.0);
  table.number("gaps", hiding.gaps, 0.0, 1.0);
  table.finish();
  if (recipe.objective == Objective::kMaskedEndings) {
    check_hidden_words(table.place(), hiding.words);
    check_hidden_words(table.place("english"), hiding.english);
  }
  if (hiding.masked + hiding.replaced > 1.0 + 1e-9)
    throw wrong(table.place(), "masked + replaced of at most 1", "more");
}

/// "nsubj", "nsubj>iobj", "obj back" under "L.H".
TaughtHead taught_head(const Table& table, std::string_view key, const toml::node& node) {
  TaughtHead out;
  const char* end = key.data() + key.size();
  const auto [dot, layer_error] = std::from_chars(key.data(), end, out.layer);
  const bool dotted = layer_error == std::errc() && dot != end && *dot == '.';
  const auto [rest, head_error] = std::from_chars(dotted ? dot + 1 : end, end, out.head);
  const auto* relation = node.as_string();
  if (!dotted || head_error != std::errc() || rest != end || out.layer < 0 || out.head < 0 ||
      relation == nullptr || relation->get().empty()) {
    throw wrong(table.place(node),
                "a head and a relation, \"3.0\" = \"nsubj>iobj\" or \"obj back\"",
                fmt::format("\"{}\" = {}", key, describe(node)));
  }
  constexpr std::string_view kBack = " back";
  out.relation = relation->get();
  out.back = out.relation.ends_with(kBack);
  if (out.back) out.relation.resize(out.relation.size() - kBack.size());
  const std::string_view r = out.relation;
  if (r.empty() || r.starts_with('>') || r.ends_with('>') || r.find(' ') != r.npos ||
      std::count(r.begin(), r.end(), '>') > 1) {
    throw wrong(table.place(node), "a relation, \"nsubj\" or \"nsubj>iobj\"", describe(node));
  }
  return out;
}

void read_teaching(Table table, const fs::path& folder, Recipe& recipe) {
  if (!table.given()) return;
  const bool masked =
      recipe.objective == Objective::kMasked || recipe.objective == Objective::kMaskedEndings;
  if (!masked)
    throw wrong(table.place(), "[teaching] with masked objectives only", "it with another");
  Teaching& teaching = recipe.teaching;
  teaching.trees = paths(table, "trees", folder);
  teaching.without = paths(table, "without", folder);
  table.integer("sentences", teaching.sentences, 1, 1 << 16);
  table.number("weight", teaching.weight, 0.0, 1000.0);
  const Table heads = table.table("heads");
  table.finish();
  if (teaching.trees.empty()) table.missing("trees", "[\"a treebank.conllu\", ...]");
  if (!heads.given()) table.missing("heads", "{ \"3.0\" = \"nsubj>iobj\", ... }");
  const auto add = [&](std::string_view key, const toml::node& node) {
    const TaughtHead head = taught_head(heads, key, node);
    if (std::ranges::find(teaching.heads, head) != teaching.heads.end())
      throw wrong(table.place(node), "each head's relations once", describe(node));
    teaching.heads.push_back(head);
  };
  for (const auto& [key, node] : *table.find("heads")->as_table()) {
    if (const auto* several = node.as_array()) {
      for (const toml::node& one : *several) add(key.str(), one);
    } else {
      add(key.str(), node);
    }
  }
  if (teaching.heads.empty()) throw wrong(heads.place(), "a head and a relation", "none");
}

void read_training(Table table, Recipe& recipe) {
  auto& training = recipe.training;
  Schedule& schedule = recipe.schedule;
  constexpr std::int64_t kMany = std::numeric_limits<std::int32_t>::max();
  table.integer("batch_tokens", training.batch_tokens, 1, kMany);
  table.integer("accumulate", training.accumulate, 1, 4096);
  std::int64_t seed = 1;
  table.integer("seed", seed, 0, std::numeric_limits<std::int64_t>::max());
  training.seed = static_cast<std::uint64_t>(seed);
  table.number("dropout", training.dropout, 0.0, 0.9);
  table.number("label_smoothing", training.label_smoothing, 0.0, 0.9);
  if (const auto compute = table.text("compute", {"f32", "bf16"}))
    training.compute = *compute == "bf16" ? DType::kBF16 : DType::kF32;
  table.number("weight_decay", training.weight_decay, 0.0, 10.0);
  training.muon = table.text("optimizer", {"adamw", "muon"}).value_or("adamw") == "muon";
  table.number("beta1", training.beta1, 0.0, 0.9999);
  table.number("beta2", training.beta2, 0.0, 0.999999);
  table.number("clip", training.clip, 0.0, 1e6);
  table.number("learning_rate", schedule.learning_rate, 1e-9, 10.0);
  table.number("final_share", schedule.final_share, 0.0, 1.0);
  table.number("decay_share", schedule.decay_share, 0.0, 1.0);
  if (const auto kind = table.text("schedule", {"constant", "cosine", "wsd"})) {
    schedule.kind = *kind == "cosine" ? Schedule::Kind::kCosine
                    : *kind == "wsd"  ? Schedule::Kind::kStable
                                      : Schedule::Kind::kConstant;
  }
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  table.integer("steps", steps, 1, kMany);
  table.integer("tokens", tokens, 1, std::int64_t{1} << 50);
  table.integer("warmup_steps", schedule.warmup, 0, kMany);
  table.finish();
  if ((steps > 0) == (tokens > 0)) {
    throw wrong(
        table.place(), "either steps or tokens in [training]", steps > 0 ? "both" : "neither");
  }
  schedule.steps = steps > 0 ? steps : std::max<std::int64_t>(1, tokens / training.batch_tokens);
  if (schedule.warmup > schedule.steps) {
    throw wrong(table.place(),
                fmt::format("at most {} warmup_steps, as many as steps", schedule.steps),
                std::to_string(schedule.warmup));
  }
  if (recipe.data.window > training.batch_tokens / training.accumulate) {
    throw wrong(
        table.place(),
        fmt::format("batch_tokens / accumulate to hold a window of {} tokens", recipe.data.window),
        std::to_string(training.batch_tokens / training.accumulate));
  }
}

void read_checkpoint(Table table, Recipe& recipe) {
  auto& checkpoint = recipe.checkpoint;
  constexpr std::int64_t kMany = std::numeric_limits<std::int32_t>::max();
  table.number("minutes", checkpoint.minutes, 0.01, 1e4);
  table.integer("steps", checkpoint.steps, 1, kMany);
  table.integer("valid_steps", checkpoint.valid_steps, 1, kMany);
  table.integer("valid_tokens", checkpoint.valid_tokens, 1, kMany);
  table.finish();
}

/// Does what finds out whether a table makes sense, and says of an error where in the recipe it is.
template <typename Check>
void check_inside(const Table& table, Check&& check) {
  try {
    check();
  } catch (const Error& error) {
    // "[config.json] expected ...": the reader of a recipe has no such file.
    std::string_view message = error.what();
    const std::size_t where = message.find("] expected ");
    if (message.starts_with('[') && where != message.npos) message.remove_prefix(where + 2);
    const Place place = table.place(table.about(message));
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}:{}:{}] {} (in [{}])",
                            place.file,
                            place.region.begin.line,
                            place.region.begin.column,
                            message,
                            table.name()));
  }
}

/// Whether the model reads sequences as long as those that it will learn from.
void check_window(const Table& data, const Recipe& recipe, std::int64_t longest) {
  if (recipe.objective == Objective::kPictures || recipe.objective == Objective::kMoving) return;
  const std::int64_t window = recipe.data.window;
  // Gaps stand between words, one a word at most.
  const bool gaps = recipe.hiding.gaps > 0.0;
  const std::int64_t most = gaps ? longest / 2 : longest;
  if (window > most) {
    throw wrong(data.place("window"),
                fmt::format("a window of at most {} tokens, {} the positions of [model]",
                            most,
                            gaps ? "for gaps half" : "all"),
                std::to_string(window));
  }
  if (recipe.objective != Objective::kTunes) return;
  const auto voices = static_cast<std::int64_t>(code_of(recipe).notes->voices.size());
  if (window < 1 + 2 * voices) {
    throw wrong(data.place("window"),
                fmt::format("a window of at least {} tokens, the start and two steps of {} voices",
                            1 + 2 * voices,
                            voices),
                std::to_string(window));
  }
}

/// What can be found out before a run makes anything.
void check_whole(Table& root, const Recipe& recipe) {
  if (!recipe.code.empty()) check_inside(root.table("code"), [&] { (void)code_of(recipe); });
  std::int64_t longest = 0;
  check_inside(root.table("model"), [&] { longest = check_model(recipe); });
  check_window(root.table("data"), recipe, longest);
  if (!recipe.teaching.heads.empty())
    check_inside(root.table("teaching"), [&] { check_heads(recipe); });
}

toml::table parsed_table(std::string_view text, const fs::path& path) {
  try {
    return toml::parse(text, path.string());
  } catch (const toml::parse_error& error) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}:{}:{}] expected TOML, found this: {}",
                            path.string(),
                            error.source().begin.line,
                            error.source().begin.column,
                            error.description()));
  }
}

}  // namespace

Recipe parse_recipe(std::string_view text, const fs::path& path, const fs::path& data) {
  const toml::table parsed = parsed_table(text, path);
  Recipe recipe;
  recipe.text = text;
  Table root(path.string(), &parsed, "");
  root.know({"name",
             "objective",
             "from",
             "model",
             "tokenizer",
             "code",
             "data",
             "hiding",
             "teaching",
             "training",
             "checkpoint"});
  root.finish();
  recipe.name = root.text("name").value_or(path.parent_path().filename().string());
  std::vector<std::string> names;
  for (const auto& [name, kind] : kObjectives) names.emplace_back(name);
  const auto objective = root.text("objective", names);
  if (!objective) root.missing("objective", fmt::format("one of {}", fmt::join(names, ", ")));
  for (const auto& [name, kind] : kObjectives) {
    if (*objective == name) recipe.objective = kind;
  }
  const fs::path folder = path.parent_path();
  if (const auto from = root.text("from")) recipe.from = folder / *from;
  read_model(root, recipe);
  Table tokenizer = root.table("tokenizer");
  if (recipe.objective <= Objective::kMaskedEndings) {
    read_tokenizer(std::move(tokenizer), folder, recipe);
  } else if (tokenizer.given()) {
    throw wrong(tokenizer.place(), fmt::format("no [tokenizer] for {}", *objective), "one");
  }
  read_code(root, recipe);
  read_data(root.table("data"), data.empty() ? folder : data, recipe);
  read_hiding(root.table("hiding"), recipe);
  read_teaching(root.table("teaching"), data.empty() ? folder : data, recipe);
  read_training(root.table("training"), recipe);
  read_checkpoint(root.table("checkpoint"), recipe);
  check_whole(root, recipe);
  return recipe;
}

std::optional<Objective> objective_in(std::string_view toml) {
  try {
    const toml::table parsed = toml::parse(toml);
    const auto named = parsed["objective"].value<std::string>();
    for (const auto& [name, kind] : kObjectives) {
      if (named == name) return kind;
    }
  } catch (const toml::parse_error&) {  // none, then
  }
  return std::nullopt;
}

Recipe load_recipe(const fs::path& path, const fs::path& data) {
  return parse_recipe(read_file(path, std::size_t{1} << 20), path, data);
}

}  // namespace headscope::train
