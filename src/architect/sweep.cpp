#include "architect/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "models/resized.h"
#include "train/recipe_change.h"

namespace headscope::architect {

namespace {

namespace fs = std::filesystem;
using train::RunStore;

fs::path record_of(const SweepOptions& options) { return options.folder / "runs.sqlite"; }

/// The recipe that all runs come from, as the folder keeps it.
std::string base_recipe(const SweepOptions& options) {
  const std::string text = read_file(options.recipe, std::size_t{1} << 20);
  (void)train::parse_recipe(
      text, options.recipe, options.data);  // errors with the lines of the file
  train::RecipeChange change;
  if (options.tokens > 0) change.tokens = options.tokens;
  return train::changed(text, change);
}

/// Whether the folder is a sweep's own in which nothing was trained: a record without a step, and no checkpoint.
bool begun_in_vain(const SweepOptions& options) {
  std::error_code ignored;
  if (!fs::exists(record_of(options), ignored)) return false;
  for (const fs::directory_entry& run : fs::directory_iterator(options.folder)) {
    if (run.is_directory() && train::has_checkpoint(run.path())) return false;
  }
  const std::vector<train::RunRecord> records = RunStore(record_of(options), true).runs();
  return std::none_of(
      records.begin(), records.end(), [](const auto& record) { return record.step > 0; });
}

/// Another recipe is refused, but where the one before could not begin: that is forgotten.
void settle_folder(const SweepOptions& options, const std::string& base) {
  fs::create_directories(options.folder);
  const fs::path kept = options.folder / "recipe.toml";
  std::error_code ignored;
  const bool there = fs::exists(kept, ignored);
  if (there && read_file(kept, std::size_t{1} << 20) == base) return;
  const bool named = there && fs::equivalent(options.recipe, kept, ignored);
  if (!there || (!named && begun_in_vain(options))) {
    write_file(kept, std::string_view(base));
    return;
  }
  throw Error(ErrorCode::kUsage,
              fmt::format("[{}] expected a folder of its own or a sweep of this recipe and this "
                          "many tokens, found another recipe.toml",
                          options.folder.string()));
}

/// What the record says of a run whose model is there.
void read_result(const RunStore& store, const train::RunRecord& record, SweepRun& run) {
  const std::vector<train::Point> valid = store.points(record.id, "valid");
  const std::vector<train::Point> points = store.points(record.id, "train");
  run.id = record.id;
  run.parameters = record.parameters;
  run.tokens = record.tokens;
  run.seconds = record.seconds;
  if (!valid.empty()) {
    run.loss = valid.back().loss;
    run.accuracy = valid.back().accuracy;
  } else if (!points.empty()) {
    const std::size_t n = std::max<std::size_t>(1, points.size() / 10);
    run.loss = run.accuracy = 0.0;
    for (std::size_t i = points.size() - n; i < points.size(); ++i) {
      run.loss += points[i].loss / static_cast<double>(n);
      run.accuracy += points[i].accuracy / static_cast<double>(n);
    }
  }
  run.scores = store.scores(record.id);
  run.done = true;
}

void find_result(const SweepOptions& options, SweepRun& run) {
  std::error_code ignored;
  if (!fs::exists(options.folder / run.key / "model.safetensors", ignored)) return;
  const RunStore store(record_of(options), true);
  const std::vector<train::RunRecord> records = store.runs();
  const auto found = std::find_if(records.rbegin(), records.rend(), [&](const auto& record) {
    return record.name == run.name;
  });
  if (found == records.rend() || found->status != "done") return;
  if (found->recipe != run.recipe.text) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[{}] expected {} to be a run of this recipe, found another's",
                            options.folder.string(),
                            run.key));
  }
  read_result(store, *found, run);
}

/// Runs of the same name that were killed before their first checkpoint.
void forget_lost_runs(RunStore& store, const std::string& name) {
  for (const train::RunRecord& record : store.runs()) {
    if (record.name == name && record.status == "running") store.set_status(record.id, "failed");
  }
}

/// Quantile 0.975 of Student's t. Beyond the table by Cornish & Fisher's expansion (Abramowitz & Stegun 26.7.5).
double t_quantile(std::size_t freedom) {
  constexpr std::array kTable = {12.706,
                                 4.303,
                                 3.182,
                                 2.776,
                                 2.571,
                                 2.447,
                                 2.365,
                                 2.306,
                                 2.262,
                                 2.228,
                                 2.201,
                                 2.179,
                                 2.160,
                                 2.145,
                                 2.131,
                                 2.120,
                                 2.110,
                                 2.101};
  if (freedom <= kTable.size()) return kTable[freedom - 1];
  constexpr double z = 1.959964;
  const auto v = static_cast<double>(freedom);
  return z + (z * z * z + z) / (4.0 * v) +
         (5.0 * std::pow(z, 5) + 16.0 * z * z * z + 3.0 * z) / (96.0 * v * v);
}

}  // namespace

std::vector<SweepRun> plan_sweep(const SweepOptions& options) {
  const std::string base = base_recipe(options);
  const train::Recipe recipe = train::parse_recipe(base, options.recipe, options.data);
  const json::Value config = json::parse(recipe.config, "[model]");
  // The tokenizer gives the vocabulary later; sizes do not depend on it.
  json::Value whole = config;
  if (!whole.contains("vocab_size")) whole["vocab_size"] = 1024;
  const models::Blueprint own = models::stack_of(whole);
  const auto or_own = [](const std::vector<std::int64_t>& asked, std::int64_t value) {
    return asked.empty() ? std::vector{value} : asked;
  };
  std::vector<SweepRun> runs;
  for (int s = 0; s < options.seeds; ++s) {
    for (const std::int64_t width : or_own(options.widths, own.width)) {
      for (const std::int64_t heads : or_own(options.heads, own.heads())) {
        const std::vector<std::int64_t> groups = or_own(options.groups, 0);
        for (const std::int64_t G : groups) {
          models::Sizes sizes;
          sizes.heads = heads;
          if (width != own.width) sizes.width = width;
          if (G > 0) sizes.groups = G;
          json::Value model = models::resized(whole, sizes);
          const models::AttentionFacts facts = models::stack_of(model).layers.front().attention;
          if (!config.contains("vocab_size")) model.erase("vocab_size");
          SweepRun run;
          run.heads = heads;
          run.groups = facts.groups;
          run.width = width;
          run.seed = recipe.training.seed + static_cast<std::uint64_t>(s);
          run.key = fmt::format("h{}-g{}-w{}-s{}", heads, run.groups, width, run.seed);
          run.name = fmt::format("{} {}", recipe.name, run.key);
          const std::string text = train::changed(
              base,
              {.name = run.name, .config = model.dump(), .seed = run.seed, .tokens = std::nullopt});
          run.recipe = train::parse_recipe(text, options.recipe, options.data);
          runs.push_back(std::move(run));
        }
      }
    }
  }
  settle_folder(options, base);
  for (SweepRun& run : runs) find_result(options, run);
  return runs;
}

bool make_run(const SweepOptions& options,
              std::vector<SweepRun>& runs,
              std::size_t n,
              const std::function<void(const SweepReport&)>& report,
              const std::function<bool()>& stop) {
  SweepRun& run = runs.at(n);
  train::RunOptions how;
  how.folder = options.folder / run.key;
  how.cache = options.cache;
  how.record = record_of(options);
  how.resume = true;
  how.stop = stop;
  // Every run would make the same tokenizer: all but the first take it.
  for (const SweepRun& other : runs) {
    if (other.done && how.tokenizer.empty() &&
        fs::exists(options.folder / other.key / "tokenizer.json"))
      how.tokenizer = options.folder / other.key / "tokenizer.json";
  }
  SweepReport now;
  now.run = n;
  now.runs = runs.size();
  double known = 0.0;
  double took = 0.0;
  for (const SweepRun& other : runs) {
    now.left += other.done ? 0 : 1;
    known += other.done ? 1.0 : 0.0;
    took += other.done ? other.seconds : 0.0;
  }
  how.report = [&](const train::RunReport& r) {
    now.now = r;
    now.seconds_left = 0.0;
    if (r.tokens_per_second > 0.0) {
      // A whole run takes as long as those that are done, or as this one will.
      const double whole = static_cast<double>(r.steps) /
                           std::max(1.0, static_cast<double>(r.steps - r.step)) * r.seconds_left;
      const double each = known > 0.0 ? took / known : whole;
      now.seconds_left = r.seconds_left + each * static_cast<double>(now.left - 1);
    }
    if (report) report(now);
  };
  {
    RunStore store(how.record);
    if (!train::newest_checkpoint(how.folder)) forget_lost_runs(store, run.name);
  }
  const train::RunResult result = train::run_recipe(run.recipe, how);
  if (result.stopped) return false;
  find_result(options, run);
  if (!run.done) {
    throw Error(ErrorCode::kInternal,
                fmt::format("[sweep] expected {} to be done, found no record of it", run.key));
  }
  return true;
}

void keep_scores(const SweepOptions& options, SweepRun& run, std::vector<train::Score> scores) {
  RunStore store(record_of(options));
  store.write_scores(run.id, scores);
  run.scores = store.scores(run.id);
}

Spread spread(const std::vector<double>& values) {
  Spread out;
  if (values.empty()) return out;
  const auto n = static_cast<double>(values.size());
  for (const double x : values) out.mean += x / n;
  out.low = out.high = out.mean;
  if (values.size() < 2) return out;
  double sum = 0.0;
  for (const double x : values) sum += (x - out.mean) * (x - out.mean);
  const double half = t_quantile(values.size() - 1) * std::sqrt(sum / (n - 1.0) / n);
  out.low -= half;
  out.high += half;
  return out;
}

std::vector<SweepGroup> groups_of(const std::vector<SweepRun>& runs) {
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t>;
  std::map<Key, std::vector<const SweepRun*>> by_sizes;
  std::vector<Key> order;
  for (const SweepRun& run : runs) {
    if (!run.done) continue;
    const Key key{run.width, run.heads, run.groups};
    if (!by_sizes.contains(key)) order.push_back(key);
    by_sizes[key].push_back(&run);
  }
  std::vector<SweepGroup> out;
  for (const Key& key : order) {
    const auto& same = by_sizes[key];
    const auto over = [&](auto&& value) {
      std::vector<double> values;
      for (const SweepRun* run : same) values.push_back(value(*run));
      return spread(values);
    };
    SweepGroup group;
    std::tie(group.width, group.heads, group.groups) = key;
    group.parameters = same.front()->parameters;
    group.seeds = same.size();
    group.loss = over([](const SweepRun& run) { return run.loss; });
    group.accuracy = over([](const SweepRun& run) { return run.accuracy; });
    group.speed = over([](const SweepRun& run) {
      return run.seconds > 0.0 ? static_cast<double>(run.tokens) / run.seconds : 0.0;
    });
    for (const train::Score& score : same.front()->scores) {
      std::vector<double> values;
      for (const SweepRun* run : same) {
        for (const train::Score& other : run->scores) {
          if (other.name == score.name) values.push_back(other.value);
        }
      }
      group.scores.push_back({score.name, spread(values), score.baseline, score.n});
    }
    out.push_back(std::move(group));
  }
  return out;
}

}  // namespace headscope::architect
