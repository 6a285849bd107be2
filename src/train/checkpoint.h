#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "headscope/train.h"

/// What a run leaves behind so that it can go on.
namespace headscope::train {

/// A point of the loss curve.
struct Point {
  std::int64_t step = 0;    ///< steps made
  std::int64_t tokens = 0;  ///< read until then
  double loss = 0.0;  ///< nats a label, mean since the point before (validation: over its texts)
  double accuracy = 0.0;  ///< share of labels foretold
  double learning_rate = 0.0;
  double norm = 0.0;  ///< of the gradients before clipping, mean since the point before
};

/// Where a run stands, besides parameters and moments.
struct RunState {
  std::int64_t step =
      0;  ///< steps made: also the position in the data and in every sequence of draws
  std::int64_t tokens = 0;   ///< read
  double seconds = 0.0;      ///< of training, checkpoints and validation included
  std::int64_t run = 0;      ///< its number in runs.sqlite
  std::uint64_t recipe = 0;  ///< checksum of what may not change while a run goes on
  std::vector<Point> train, valid;
  /// Sums since the last point of `train`.
  struct {
    double nats = 0.0, norms = 0.0;
    std::int64_t labels = 0, correct = 0, steps = 0;
  } open;
  double running = 0.0;  ///< mean loss of late, for people who watch
};

/// Writes FOLDER/checkpoint-STEP with config.json, model.safetensors (f32), the files of
/// FOLDER that say what tokens or pixels are, and
/// state.safetensors. The folder is made under another name, synced and renamed; only then older checkpoints go. So
/// at every moment, whatever happens, the newest one that is there is whole. One of the same step stays as it is.
/// Errors: kIo.
void save_checkpoint(const std::filesystem::path& folder,
                     const Trainee& trainee,
                     const AdamW& optimizer,
                     const RunState& state);

/// Whether a run's folder has a checkpoint. Changes nothing.
bool has_checkpoint(const std::filesystem::path& folder);
/// The newest checkpoint of a folder. What a killed run left half-written is removed.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder);

/// Parameters are read by Trainee::load(checkpoint), moments by restore_moments.
/// Errors: kFormat (also when model and state are not of one checkpoint).
RunState load_state(const std::filesystem::path& checkpoint);
/// Errors: those of AdamW::restore: of a recipe's own checkpoint none, so check RunState::recipe first.
void restore_moments(const std::filesystem::path& checkpoint, AdamW& optimizer);

}  // namespace headscope::train
