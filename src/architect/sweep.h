#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "train/loop.h"
#include "train/runs.h"

/// One recipe trained with other heads, groups and widths: quality against cost.
namespace headscope::architect {

struct SweepOptions {
  std::filesystem::path recipe, data;  ///< data: as load_recipe takes it
  std::filesystem::path folder;        ///< of the sweep; one folder a run in it, and runs.sqlite
  std::filesystem::path cache;         ///< of ids of texts
  std::vector<std::int64_t> heads, groups, widths;  ///< empty: what the recipe says
  int seeds = 3;                                    ///< the recipe's own and those behind it
  std::int64_t tokens = 0;                          ///< of a run; 0: as the recipe says
};

/// One training run of a sweep.
struct SweepRun {
  std::int64_t heads = 0, groups = 0, width = 0;
  std::uint64_t seed = 0;
  std::string name;  ///< "tale h8 g8 w256 s1", in runs.sqlite
  std::string key;   ///< "h8-g8-w256-s1": its folder
  train::Recipe recipe;
  bool done = false;
  // Of a run that is done:
  std::int64_t id = 0;  ///< in runs.sqlite
  std::int64_t parameters = 0, tokens = 0;
  double seconds = 0.0;
  double loss =
      0.0;  ///< nats a label: of the validation at the end, else of the last tenth of the run
  double accuracy = 0.0;  ///< share of labels foretold, likewise
  std::vector<train::Score> scores;
};

/// All runs that were asked for, seed by seed, in the order in which they are made: every head count first gets its
/// first seed. What the folder knows of them is read. Makes the folder and puts the recipe into it.
/// Whoever makes runs holds the folder meanwhile (train::FolderHold).
/// Errors: kUsage for heads and groups that do not fit the width (names them) and for a folder that holds a sweep of
/// another recipe of which something was trained; those of load_recipe.
std::vector<SweepRun> plan_sweep(const SweepOptions& options);

struct SweepReport {
  std::size_t run = 0;  ///< which of all
  std::size_t runs = 0;
  std::size_t left = 0;       ///< runs that are not done, this one included
  double seconds_left = 0.0;  ///< for all of them; 0: not known yet
  train::RunReport now;
};

/// Makes run `n` of these, or goes on with it, and fills in what came out. Nothing is lost by killing it but what came
/// after its last checkpoint; equal calls then give equal bits.
/// Returns false when `stop` said so. Errors: those of run_recipe.
bool make_run(const SweepOptions& options,
              std::vector<SweepRun>& runs,
              std::size_t n,
              const std::function<void(const SweepReport&)>& report,
              const std::function<bool()>& stop);

/// Keeps scores of a run that is done.
void keep_scores(const SweepOptions& options, SweepRun& run, std::vector<train::Score> scores);

/// Mean of a few numbers, and where the mean of all there could be lies with 95 % (Student's t; equal ends for one
/// number). Source: Student 1908.
struct Spread {
  double mean = 0.0, low = 0.0, high = 0.0;
};
Spread spread(const std::vector<double>& values);

/// Runs that differ by their seeds alone.
struct SweepGroup {
  std::int64_t heads = 0, groups = 0, width = 0;
  std::int64_t parameters = 0;
  std::size_t seeds = 0;
  Spread loss, accuracy, speed;  ///< speed: tokens a second of training
  /// Mean value of each score over the seeds, by name.
  struct Score {
    std::string name;
    Spread value;
    double baseline = 0.0;
    std::int64_t n = 0;
  };
  std::vector<Score> scores;
};
/// Of the runs that are done, in the order of the sweep.
std::vector<SweepGroup> groups_of(const std::vector<SweepRun>& runs);

}  // namespace headscope::architect
