#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "models/blueprint.h"
#include "train/material.h"
#include "train/vocabulary.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {

std::string learned(const Recipe& recipe) {
  using Words = Recipe::Words;
  switch (recipe.tokenizer.kind) {
    case Words::kFile:
      break;
    case Words::kStems: {
      WordCounts counts;
      for (const fs::path& path : recipe.data.train) count_words(read_utf8(path), counts);
      return stem_tokenizer(counts, recipe.tokenizer.size);
    }
    case Words::kUnigram:
    case Words::kBpe: {
      std::vector<std::string> texts;
      for (const fs::path& path : recipe.data.train) texts.push_back(read_utf8(path));
      return sentencepiece_tokenizer(
          texts, {.bpe = recipe.tokenizer.kind == Words::kBpe, .size = recipe.tokenizer.size});
    }
  }
  throw Error(ErrorCode::kInternal, "[recipe] expected a kind of tokenizer, found another");
}

/// Of what several texts lack together, none of them can be blamed: all are named.
std::string make_tokenizer(const Recipe& recipe, const Tell& tell) {
  if (recipe.tokenizer.kind == Recipe::Words::kFile) return read_file(recipe.tokenizer.file);
  tell(RunReport::Phase::kTokenizer, 0.0, {});
  try {
    return learned(recipe);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (!message.starts_with("[tokenizer] ")) throw;  // a file's own
    std::vector<std::string> names;
    for (const fs::path& path : recipe.data.train) names.push_back(path.string());
    throw Error(error.code(), fmt::format("{} (in {})", message, fmt::join(names, ", ")));
  }
}

void write_tokenizer(const fs::path& folder, const std::string& tokenizer) {
  nlohmann::ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  const char* names[] = {"pad_token", "unk_token", "cls_token", "sep_token", "mask_token"};
  for (std::size_t i = 0; i < std::size(names); ++i) config[names[i]] = kSpecials[i];
  write_file(folder / "tokenizer_config.json", std::string_view(config.dump(2) + '\n'));
  write_file(folder / "tokenizer.json",
             std::string_view(tokenizer));  // last: it says that both are there
}

/// Windows of each file in a part of a batch: at least one.
std::vector<std::int64_t> windows_of(const Recipe& recipe) {
  const double all = static_cast<double>(recipe.training.batch_tokens) /
                     static_cast<double>(recipe.training.accumulate * recipe.data.window);
  std::vector<std::int64_t> out;
  for (const double share : recipe.data.shares) {
    out.push_back(std::max<std::int64_t>(1, std::llround(share * all)));
  }
  return out;
}

/// The tokenizer of a run: the folder's when it goes on, else a new one.
std::string tokenizer_of(const Recipe& recipe,
                         const RunOptions& options,
                         bool goes_on,
                         const Tell& tell) {
  std::error_code ignored;
  if (goes_on && fs::exists(options.folder / "tokenizer.json", ignored))
    return read_file(options.folder / "tokenizer.json");
  const std::string made =
      options.tokenizer.empty() ? make_tokenizer(recipe, tell) : read_file(options.tokenizer);
  write_tokenizer(options.folder, made);
  return made;
}

void check_specials(const Tokenizer& tokenizer, const fs::path& file) {
  for (std::int32_t id = 0; id < kSpecialCount; ++id) {
    if (tokenizer.id_of(kSpecials[id]) == id) continue;
    throw Error(ErrorCode::kInput,
                fmt::format("[{}] expected {} to be token {}, found {}",
                            file.string(),
                            kSpecials[id],
                            id,
                            tokenizer.id_of(kSpecials[id])));
  }
}

void add(const Borders& found, Borders& to) {
  to.words += found.words;
  to.with_ending += found.with_ending;
  to.kept += found.kept;
  to.whole += found.whole;
  to.tokens += found.tokens;
}

}  // namespace

Material text_material(const Recipe& recipe,
                       const RunOptions& options,
                       bool goes_on,
                       const Tell& tell) {
  Material out;
  if (!goes_on) {
    for (const fs::path& path : recipe.data.valid) (void)read_utf8(path);  // minutes are spent next
  }
  out.key = tokenizer_of(recipe, options, goes_on, tell);
  const fs::path file = options.folder / "tokenizer.json";
  const Tokenizer tokenizer = Tokenizer::parse(out.key, file.string());
  check_specials(tokenizer, file);
  const auto source = [&](const std::vector<fs::path>& paths,
                          const std::vector<std::int64_t>& windows,
                          std::uint64_t seed,
                          Borders* borders) {
    TextOptions how;
    how.sentences = recipe.objective != Objective::kCausal;
    how.kinds = recipe.objective == Objective::kMaskedEndings;
    how.window = recipe.data.window - (how.sentences ? 2 : 0);
    how.cache = options.cache;
    std::vector<Share> shares;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      how.progress = [&](std::size_t done, std::size_t all) {
        tell(RunReport::Phase::kTexts,
             static_cast<double>(done) / static_cast<double>(std::max<std::size_t>(1, all)),
             paths[i]);
      };
      auto text = std::make_shared<const TextData>(TextData::of(paths[i], tokenizer, out.key, how));
      if (borders != nullptr) add(text->borders(), *borders);
      shares.push_back({std::move(text), windows[i]});
    }
    if (recipe.objective == Objective::kCausal) return causal_source(std::move(shares), seed);
    return masked_source(std::move(shares), recipe.hiding, seed, tokenizer.vocabulary_size());
  };
  out.train = source(recipe.data.train, windows_of(recipe), recipe.training.seed, &out.borders);
  if (!recipe.teaching.trees.empty()) {
    constexpr std::uint64_t kTrees = 31;  // another order than that of the texts
    out.train = taught_source(std::move(out.train),
                              recipe.teaching,
                              tokenizer,
                              recipe.data.window,
                              recipe.training.seed + kTrees);
  }
  out.config = completed_config(recipe, tokenizer.vocabulary_size());
  if (recipe.data.valid.empty()) return out;
  const std::int64_t each = std::max<std::int64_t>(
      1, 2048 / recipe.data.window / static_cast<std::int64_t>(recipe.data.valid.size()));
  // Of a seed of its own, so that runs of different seeds are judged by the same questions.
  constexpr std::uint64_t kValidSeed = 2024;
  out.valid = source(recipe.data.valid,
                     std::vector<std::int64_t>(recipe.data.valid.size(), each),
                     kValidSeed,
                     nullptr);
  return out;
}

std::string config_with(const Recipe& recipe,
                        std::span<const std::pair<const char*, std::int64_t>> facts) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(recipe.config);
  for (const auto& [key, value] : facts) {
    if (!config.contains(key)) config[key] = value;
  }
  const std::int64_t vocabulary = facts.front().second;
  if (const auto& size = config["vocab_size"]; !size.is_number_integer() || size < vocabulary) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[recipe] expected vocab_size of at least {}, as many as there are "
                            "tokens, found {}",
                            vocabulary,
                            size.dump()));
  }
  return config.dump(2) + '\n';
}

void check_taught(const Recipe& recipe, const std::string& config) {
  const models::Blueprint b = models::read_blueprint(json::parse(config, "config.json"));
  for (const TaughtHead& head : recipe.teaching.heads) {
    const auto layer = static_cast<std::size_t>(head.layer);
    if (layer < b.layers.size() && head.head < b.layers[layer].attention.heads) continue;
    throw Error(ErrorCode::kUsage,
                fmt::format("[teaching] expected a head of layers 0..{} of {} heads, found {}.{}",
                            b.layers.size() - 1,
                            b.layers.front().attention.heads,
                            head.layer,
                            head.head));
  }
}

std::string text_config(const Recipe& recipe, std::int32_t vocabulary) {
  const std::pair<const char*, std::int64_t> facts[] = {{"vocab_size", vocabulary},
                                                        {"pad_token_id", kPad},
                                                        {"bos_token_id", kClass},
                                                        {"eos_token_id", kSeparator},
                                                        {"cls_token_id", kClass},
                                                        {"sep_token_id", kSeparator}};
  return config_with(recipe, facts);
}

std::string completed_config(const Recipe& recipe, std::int32_t vocabulary) {
  const std::string config = text_config(recipe, vocabulary);
  // A model says of itself what it did not find alone, and what the one that it began with did not.
  nlohmann::ordered_json out = nlohmann::ordered_json::parse(config);
  std::error_code ignored;
  if (const fs::path file = recipe.from / "config.json";
      !recipe.from.empty() && fs::exists(file, ignored)) {
    const json::Value before = json::parse(read_file(file, std::size_t{16} << 20), file.string());
    const auto taught = before.find("taught_heads");
    if (taught != before.end() && taught->is_object()) out["taught_heads"] = *taught;
  }
  for (const TaughtHead& head : recipe.teaching.heads) {
    auto& taught = out["taught_heads"][fmt::format("{}.{}", head.layer, head.head)];
    const std::string what = head.relation + (head.back ? " back" : "");
    if (std::find(taught.begin(), taught.end(), what) == taught.end()) taught.push_back(what);
  }
  if (!recipe.teaching.heads.empty()) check_taught(recipe, out.dump());
  return out.dump(2) + '\n';
}

}  // namespace headscope::train
