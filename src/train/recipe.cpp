#include "train/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "train/material.h"
#include "train/recipe_model.h"
#include "train/recipe_table.h"

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

void read_model(Table root, Recipe& recipe) {
  Table model = root.table("model");
  if (!model.given()) root.missing("[model]", "the config.json of a family");
  if (!model.text("model_type")) model.missing("model_type", "\"modernbert\" or another family");
  if (model.array("architectures") == nullptr) {
    model.missing("architectures", "[\"ModernBertForMaskedLM\"] or another head");
  }
  if (const toml::node* taught = model.find("taught_heads"))
    throw wrong(model.place(*taught), "taught heads in [teaching]", "them in [model]");
  recipe.config = root.json("model").dump(2);
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
  data.horizon = std::min(data.horizon, data.window / 2);
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
  if (wanted) recipe.code = root.json("code").dump(2) + '\n';
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
  if (!recipe.code.empty())
    root.table("code").check([&] { (void)code_of(recipe); }, Table::Keys::kThoseRead);
  std::int64_t longest = 0;
  root.table("model").check([&] { longest = check_model(recipe); });
  check_window(root.table("data"), recipe, longest);
  if (!recipe.teaching.heads.empty()) root.table("teaching").check([&] { check_heads(recipe); });
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
  recipe.name = root.text("name").value_or(
      fs::absolute(path).lexically_normal().parent_path().filename().string());
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
