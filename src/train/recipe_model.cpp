#include "train/recipe_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "formats/json.h"
#include "headscope/error.h"
#include "train/material.h"
#include "train/network.h"
#include "train/vocabulary.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {

Reads reads(Objective objective) {
  if (objective == Objective::kPictures) return Reads::kPictures;
  return objective == Objective::kMoving ? Reads::kVideos : Reads::kTokens;
}

void check_family(const json::Value& config, Objective objective) {
  const auto type = json::require<std::string>(config, "model_type", "config.json");
  const auto known = drawn_families(reads(objective));
  if (std::ranges::find(known, type) != known.end()) return;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[config.json] expected model_type to be one of {}, which can be trained "
                          "for this objective, found {}",
                          fmt::join(known, ", "),
                          json::quote(type)));
}

// The config as it will be, but for the size of a vocabulary that is yet to be learned: the size
// that [tokenizer] asks for stands in.
std::string stand_in(const Recipe& recipe) {
  if (recipe.objective == Objective::kPictures || recipe.objective == Objective::kMoving)
    return recipe.config;
  if (!recipe.code.empty()) return config_of(recipe, code_of(recipe));
  const bool given = nlohmann::json::parse(recipe.config).contains("vocab_size");
  const bool there = recipe.tokenizer.kind == Recipe::Words::kFile;  // and not read yet
  return text_config(recipe, given && there ? std::int32_t{kSpecialCount} : recipe.tokenizer.size);
}

enum class Wanted { kFile, kFolder, kEither };

void look(const fs::path& path, std::string_view key, Wanted wanted) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  const bool folder = fs::is_directory(status);
  const char* what = wanted == Wanted::kFolder ? "a folder"
                     : wanted == Wanted::kFile ? "a file"
                                               : "a file or a folder";
  if (!fs::exists(status)) {
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("[{}] expected {}, which {} names, found none", path.string(), what, key));
  }
  if (wanted != Wanted::kEither && folder != (wanted == Wanted::kFolder)) {
    throw Error(ErrorCode::kInput,
                fmt::format("[{}] expected {}, which {} names, found {}",
                            path.string(),
                            what,
                            key,
                            folder ? "a folder" : "a file"));
  }
}

// "table.csv:column" is a column of table.csv.
fs::path file_of(const fs::path& named, Objective objective) {
  const std::string text = named.string();
  const std::size_t colon = text.rfind(".csv:");
  const bool column = objective == Objective::kTables && colon != std::string::npos;
  return column ? fs::path(text.substr(0, colon + 4)) : named;
}

// The tokens that are no element come before all elements; the one that stands for an element
// which is not there is none of the two that begin and end.
template <typename Code>
void check_specials(const Code& code, std::string_view absent, std::int32_t id) {
  const std::pair<std::string_view, std::int32_t> specials[] = {
      {"start", code.start}, {"end", code.end}, {absent, id}};
  for (const auto& [key, one] : specials) {
    if (one < code.first) continue;
    throw Error(
        ErrorCode::kFormat,
        fmt::format(
            "[code] expected {} to be an id below first = {}, found {}", key, code.first, one));
  }
  if (id != code.start && id != code.end) return;
  throw Error(
      ErrorCode::kFormat,
      fmt::format("[code] expected {} to be another id than start and end, found {}", absent, id));
}

}  // namespace

SequenceCode code_of(const Recipe& recipe) {
  SequenceCode code = SequenceCode::parse(recipe.code, "[code]");
  const bool notes = recipe.objective == Objective::kTunes;
  if (code.notes) check_specials(*code.notes, "rest", code.notes->rest);
  if (code.numbers) check_specials(*code.numbers, "missing", code.numbers->missing);
  if (notes ? code.notes.has_value() : code.numbers.has_value()) return code;
  throw Error(
      ErrorCode::kFormat,
      fmt::format("[code] expected kind = \"{}\", found another", notes ? "notes" : "numbers"));
}

std::string config_of(const Recipe& recipe, const SequenceCode& code) {
  const auto with = [&](const auto& kind) {
    const std::pair<const char*, std::int64_t> facts[] = {{"vocab_size", kind.vocabulary()},
                                                          {"bos_token_id", kind.start},
                                                          {"eos_token_id", kind.end},
                                                          {"pad_token_id", kind.end}};
    return config_with(recipe, facts);
  };
  return code.notes ? with(*code.notes) : with(*code.numbers);
}

std::int64_t check_model(const Recipe& recipe) {
  const json::Value own = json::parse(recipe.config, "config.json");
  check_family(own, recipe.objective);
  const std::int64_t longest = longest_of(json::parse(stand_in(recipe), "config.json"));
  if (recipe.objective == Objective::kMoving) check_moving(recipe);
  return longest;
}

void check_heads(const Recipe& recipe) { check_taught(recipe, stand_in(recipe)); }

void check_files(const Recipe& recipe, bool with_tokenizer) {
  const auto& data = recipe.data;
  const bool tunes = recipe.objective == Objective::kTunes;
  const auto all = [&](const std::vector<fs::path>& paths, const char* key, Wanted wanted) {
    for (const fs::path& path : paths) look(file_of(path, recipe.objective), key, wanted);
  };
  const Wanted wanted = tunes ? Wanted::kEither : Wanted::kFile;
  all(data.train, "train in [data]", wanted);
  all(data.valid, "valid in [data]", wanted);
  all(data.test, "test in [data]", wanted);
  all(recipe.teaching.trees, "trees in [teaching]", Wanted::kFile);
  all(recipe.teaching.without, "without in [teaching]", Wanted::kFile);
  if (with_tokenizer && recipe.tokenizer.kind == Recipe::Words::kFile)
    look(recipe.tokenizer.file, "file in [tokenizer]", Wanted::kFile);
  if (!recipe.from.empty()) look(recipe.from, "from", Wanted::kFolder);
}

}  // namespace headscope::train
