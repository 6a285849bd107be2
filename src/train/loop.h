#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "train/checkpoint.h"
#include "train/recipe.h"
#include "train/text_data.h"

/// A training run from a recipe to a folder.
namespace headscope::train {

/// What a run is doing.
struct RunReport {
  enum class Phase { kTokenizer, kTexts, kSteps, kValidation, kCheckpoint };
  Phase phase = Phase::kSteps;
  double part = 0.0;  ///< of the phase, 0..1 (kSteps: of the run)
  std::string file;   ///< kTexts: which
  std::int64_t step = 0, steps = 0, tokens = 0;
  double loss = 0.0;         ///< running mean, nats a label
  double taught = 0.0;       ///< running mean, nats a look, of this call; 0 where nothing is taught
  double valid_loss = -1.0;  ///< the last; -1 before the first
  double tokens_per_second = 0.0;  ///< since the run was started or went on
  double seconds_left = 0.0;
};

struct RunOptions {
  std::filesystem::path folder;  ///< of the run; made when it is not there
  std::filesystem::path cache;   ///< of ids of texts
  std::filesystem::path record;  ///< of runs; empty: runs.sqlite of the folder
  /// Made by a run of a recipe with equal [tokenizer] and [data]: serves where a new one would be made. Empty: none.
  std::filesystem::path tokenizer;
  bool resume = false;  ///< go on from the newest checkpoint of the folder, or begin
  std::function<void(const RunReport&)> report;  ///< often; the caller draws as rarely as it likes
  std::function<bool()> stop;  ///< asked between steps: save a checkpoint and return
};

struct RunResult {
  bool stopped = false;  ///< by `stop`, before the last step
  RunState state;
  std::int64_t parameters = 0;
  double seconds = 0.0;          ///< of this call's steps
  std::int64_t seen_tokens = 0;  ///< in this call's steps
  std::int64_t skipped = 0;      ///< steps without effect, their gradients not being numbers
  Borders borders;               ///< of the texts, for stems
  std::optional<Point> test;     ///< over all of what the recipe names to test on, at the end
};

/// Runs a recipe. The folder receives tokenizer.json, recipe.toml, runs.sqlite, checkpoint-STEP while it goes and, at
/// its end, config.json and model.safetensors (f16). Equal recipes give equal bits at any number of threads, however
/// often a run is stopped and goes on.
/// Errors: kUsage when the folder holds a run and `resume` is not set, or the run is of another recipe (what may
/// change: [checkpoint], the steps, the schedule); kResources when another run writes to the folder; those of texts,
/// tokenizers and files, all of which are looked for first; kInput when ten steps one after the other give no numbers.
RunResult run_recipe(const Recipe& recipe, const RunOptions& options);

/// A recipe's config.json with vocabulary and special tokens of a tokenizer put in where it does not say them.
std::string completed_config(const Recipe& recipe, std::int32_t vocabulary);

}  // namespace headscope::train
