#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "train/loop.h"
#include "train/source.h"

/// What a run learns from, made once before its first step.
namespace headscope::train {

struct Material {
  /// valid, test: nullptr when the recipe names nothing to judge by; test is looked at once, at the end.
  std::unique_ptr<Source> train, valid, test;
  std::string config;  ///< the whole config.json of the model
  /// What makes the numbers of a step besides the recipe: a run goes on only with the same.
  std::string key;
  std::int64_t picture_rows =
      0;            ///< rows of a model for one picture or video; 0: batches hold tokens
  Borders borders;  ///< of texts, for stems
};

using Tell = std::function<void(RunReport::Phase, double part, const std::filesystem::path& file)>;

/// Texts as ids of a tokenizer, which is made and written into the run's folder unless the run goes on.
Material text_material(const Recipe& recipe,
                       const RunOptions& options,
                       bool goes_on,
                       const Tell& tell);

/// Pictures with a class each, from IDX files (which may be packed by gzip); writes preprocessor_config.json into the
/// folder. Errors: kNotFound, kIo; kFormat for a damaged file or one of another kind; kShape when pictures and labels
/// or the model's config do not fit together.
Material picture_material(const Recipe& recipe, const std::filesystem::path& folder);

/// Tunes as the tokens that recipe.code says; writes media.json into the folder. Windows of a tune begin at a bar.
/// Validation and test go through each tune once; of tokens that two windows hold, the later one foretells those that
/// the earlier one did not. Errors: those of SequenceCode::parse and read_scores; kShape.
Material tune_material(const Recipe& recipe, const std::filesystem::path& folder);

/// Columns of tables as numbers, "file.csv" (all numeric columns) or "file.csv:column", and series made by chance;
/// writes media.json. Validation foretells `horizon` numbers at a time of the rows held back, which training never
/// sees. Errors: those of SequenceCode::parse, read_csv, columns_of; kInput for a table that is too short.
Material table_material(const Recipe& recipe, const std::filesystem::path& folder);

/// A series by chance: a trend, one or two periods with overtones, noise that lingers. Source: Dooley 2023
/// (ForecastPFN) s3.
void make_series(std::span<double> to, std::uint64_t seed);

/// Moving pictures of which patches are hidden, made as they are asked for; writes preprocessor_config.json.
/// Errors: kShape, kRange when the model's config does not fit them.
Material moving_material(const Recipe& recipe, const std::filesystem::path& folder);
/// Whether the model's config fits moving pictures, before any are made. Errors: those above.
void check_moving(const Recipe& recipe);

/// The recipe's config.json with these facts put in where it does not say them.
std::string config_with(const Recipe& recipe,
                        std::span<const std::pair<const char*, std::int64_t>> facts);

/// The same with what a tokenizer of `vocabulary` tokens made here says.
std::string text_config(const Recipe& recipe, std::int32_t vocabulary);
/// Whether the heads that [teaching] names are in the model of this config.json. Errors: kUsage.
void check_taught(const Recipe& recipe, const std::string& config);

/// preprocessor_config.json for pictures of one channel as numbers from -1 to 1.
void write_preprocessor(const std::filesystem::path& folder,
                        std::int64_t height,
                        std::int64_t width);

}  // namespace headscope::train
