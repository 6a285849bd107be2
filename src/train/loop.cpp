#include "train/loop.h"

#include <fmt/format.h>
#include <lzma.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "headscope/threads.h"
#include "train/begun.h"
#include "train/hold.h"
#include "train/material.h"
#include "train/recipe_model.h"
#include "train/runs.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

/// Steps a point of the curve.
constexpr std::int64_t kPointSteps = 10;

constexpr std::int64_t kEverything = std::numeric_limits<std::int64_t>::max();

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Of everything that makes the numbers of a step what they are.
std::uint64_t checksum(const Recipe& recipe, const std::string& key) {
  const auto& t = recipe.training;
  const Hiding& h = recipe.hiding;
  std::string all = fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
                                static_cast<int>(recipe.objective),
                                recipe.data.window,
                                t.batch_tokens,
                                t.accumulate,
                                t.seed,
                                t.dropout,
                                t.label_smoothing,
                                t.weight_decay,
                                t.beta1,
                                t.beta2,
                                t.clip,
                                h.words.endings,
                                h.words.stems,
                                h.words.words,
                                h.words.functions,
                                h.words.marks,
                                h.masked,
                                h.replaced);
  if (t.compute != DType::kF32) all += " " + std::string(name(t.compute));
  if (t.muon) all += " muon";
  if (h.gaps > 0) all += fmt::format(" gaps {}", h.gaps);
  if (h.english != h.words) {
    const HiddenWords& e = h.english;
    all +=
        fmt::format(" english {} {} {} {} {}", e.endings, e.stems, e.words, e.functions, e.marks);
  }
  if (!recipe.from.empty()) all += " from " + recipe.from.filename().string();
  if (const Teaching& teaching = recipe.teaching; !teaching.trees.empty()) {
    all += fmt::format(" taught {} {}", teaching.sentences, teaching.weight);
    for (const TaughtHead& head : teaching.heads)
      all += fmt::format(" {}.{} {} {}", head.layer, head.head, head.relation, head.back);
    for (const fs::path& path : teaching.trees) all += path.filename().string() + ' ';
    for (const fs::path& path : teaching.without) all += "without " + path.filename().string();
  }
  for (const double share : recipe.data.shares) all += fmt::format(" {}", share);
  all += recipe.config + key;
  for (const fs::path& path : recipe.data.train) all += path.filename().string() + '\n';
  return lzma_crc64(reinterpret_cast<const std::uint8_t*>(all.data()), all.size(), 0);
}

/// Labels, or hidden patches.
std::int64_t labels_of(const Batch& batch) {
  if (!batch.mask.empty()) {
    const auto mask = batch.mask.span<std::uint8_t>();
    return std::count_if(mask.begin(), mask.end(), [](std::uint8_t m) { return m != 0; });
  }
  const auto labels = batch.labels.span<std::int32_t>();
  return std::count_if(labels.begin(), labels.end(), [](std::int32_t l) { return l >= 0; });
}

Material material_of(const Recipe& recipe,
                     const RunOptions& options,
                     bool goes_on,
                     const Tell& tell) {
  switch (recipe.objective) {
    case Objective::kPictures:
      return picture_material(recipe, options.folder);
    case Objective::kTunes:
      return tune_material(recipe, options.folder);
    case Objective::kTables:
      return table_material(recipe, options.folder);
    case Objective::kMoving:
      return moving_material(recipe, options.folder);
    case Objective::kCausal:
    case Objective::kMasked:
    case Objective::kMaskedEndings:
      break;
  }
  return text_material(recipe, options, goes_on, tell);
}

/// What a run is made of, from the tokenizer to the optimizer.
class Runner {
 public:
  Runner(const Recipe& recipe, const RunOptions& options)
      : recipe_(recipe), options_(options), hold_(options.folder, "train") {
    prepare_folder();
    prepare_model();
  }

  RunResult go() {
    start_ = Clock::now();
    saved_ = start_;
    first_tokens_ = state_.tokens;
    before_ = state_.seconds;
    try {
      while (state_.step < recipe_.schedule.steps && !stopped()) one_step();
    } catch (...) {
      store_->set_status(state_.run, "failed");
      throw;
    }
    const bool done = state_.step >= recipe_.schedule.steps;
    if (done && material_.valid) validate();
    save(done ? "done" : "stopped");
    if (done) trainee_->save(options_.folder, DType::kF16);
    RunResult out;
    if (done && material_.test) out.test = judged(*material_.test, kEverything);
    out.stopped = !done;
    out.state = state_;
    out.parameters = parameters();
    out.seconds = since(start_);
    out.seen_tokens = state_.tokens - first_tokens_;
    out.skipped = skipped_;
    out.borders = material_.borders;
    return out;
  }

 private:
  [[nodiscard]] bool stopped() const { return options_.stop && options_.stop(); }

  void report(RunReport::Phase phase, double part, const fs::path& file = {}) {
    if (!options_.report) return;
    RunReport r;
    r.phase = phase;
    r.part = part;
    r.file = file.filename().string();
    r.step = state_.step;
    r.steps = recipe_.schedule.steps;
    r.tokens = state_.tokens;
    r.loss = state_.running;
    r.taught = taught_;
    r.valid_loss = state_.valid.empty() ? -1.0 : state_.valid.back().loss;
    if (const double seconds = since(start_); state_.step > first_step_ && seconds > 0.0) {
      r.tokens_per_second = static_cast<double>(state_.tokens - first_tokens_) / seconds;
      r.seconds_left = seconds / static_cast<double>(state_.step - first_step_) *
                       static_cast<double>(r.steps - state_.step);
    }
    options_.report(r);
  }

  void prepare_folder() {
    const fs::path& folder = options_.folder;
    checkpoint_ = newest_checkpoint(folder);
    if (checkpoint_ && !options_.resume) {
      throw Error(
          ErrorCode::kUsage,
          fmt::format("[{}] expected a folder without a run, found {}; --resume goes on with it",
                      folder.string(),
                      checkpoint_->filename().string()));
    }
    const auto tell = [&](RunReport::Phase phase, double part, const fs::path& file) {
      report(phase, part, file);
    };
    material_ = material_of(recipe_, options_, checkpoint_.has_value(), tell);
    write_file(folder / "recipe.toml", std::string_view(recipe_.text));
  }

  /// Tokens, or what stands for the pictures.
  [[nodiscard]] std::int64_t rows_in(const Batch& batch) const {
    return batch.ids.empty() ? batch.pixels.dim(0) * material_.picture_rows : batch.ids.size();
  }

  [[nodiscard]] std::int64_t parameters() const {
    std::int64_t n = 0;
    for (const Parameter& p : trainee_->parameters()) n += p.value.size();
    return n;
  }

  [[nodiscard]] Trainee begun() const {
    std::error_code ignored;
    const bool reads_text = fs::exists(options_.folder / "tokenizer.json", ignored);
    return begun_with(recipe_.from,
                      material_.config,
                      reads_text ? material_.key : std::string(),
                      recipe_.training.seed);
  }

  void prepare_model() {
    const auto& training = recipe_.training;
    const std::uint64_t sum = checksum(recipe_, material_.key);
    trainee_.emplace(checkpoint_            ? Trainee::load(*checkpoint_)
                     : recipe_.from.empty() ? Trainee::fresh(material_.config, training.seed)
                                            : begun());
    if (recipe_.hiding.gaps > 0 && 2 * recipe_.data.window > trainee_->positions()) {
      throw Error(
          ErrorCode::kUsage,
          fmt::format("[hiding] expected a model of at least {} positions, twice the window, "
                      "for gaps, found {}",
                      2 * recipe_.data.window,
                      trainee_->positions()));
    }
    optimizer_.emplace(trainee_->parameters(),
                       AdamWOptions{.beta1 = training.beta1,
                                    .beta2 = training.beta2,
                                    .weight_decay = training.weight_decay,
                                    .clip = training.clip,
                                    .muon = training.muon});
    if (checkpoint_) {
      state_ = load_state(*checkpoint_);
      if (state_.recipe != sum) {
        throw Error(
            ErrorCode::kUsage,
            fmt::format("[{}] expected the recipe that the run began with (steps, schedule and "
                        "[checkpoint] may change), found another",
                        options_.folder.string()));
      }
      restore_moments(*checkpoint_, *optimizer_);
    }
    state_.recipe = sum;
    first_step_ = state_.step;
    store_.emplace(options_.record.empty() ? options_.folder / "runs.sqlite" : options_.record);
    RunRecord record;
    record.name = recipe_.name;
    record.version = HEADSCOPE_VERSION;
    record.recipe = recipe_.text;
    record.seed = training.seed;
    record.threads = threads();
    record.parameters = parameters();
    record.steps = recipe_.schedule.steps;
    state_.run = checkpoint_ ? store_->resume(record, state_) : store_->begin(record);
  }

  void one_step() {
    const auto& training = recipe_.training;
    const auto parts = static_cast<std::uint64_t>(training.accumulate);
    std::vector<Batch> batches;
    std::int64_t labels = 0;
    std::int64_t looks = 0;
    std::int64_t rows = 0;
    for (std::uint64_t part = 0; part < parts; ++part) {
      batches.push_back(
          material_.train->batch(static_cast<std::uint64_t>(state_.step) * parts + part));
      labels += labels_of(batches.back());
      looks += batches.back().looks.empty() ? 0 : batches.back().looks.dim(0);
      rows += rows_in(batches.back());
    }
    const double rate = recipe_.schedule.at(state_.step);
    double nats = 0.0;
    double taught = 0.0;
    std::int64_t correct = 0;
    for (std::uint64_t part = 0; part < parts; ++part) {
      StepOptions how;
      how.scale = 1.0 / static_cast<double>(std::max<std::int64_t>(1, labels));
      how.teaching = looks > 0 ? recipe_.teaching.weight / static_cast<double>(looks) : 0.0;
      how.dropout = training.dropout;
      how.label_smoothing = training.label_smoothing;
      how.compute = training.compute;
      how.seed = training.seed;
      how.step = static_cast<std::uint64_t>(state_.step) * parts + part;
      const Loss loss = trainee_->step(batches[part], how);
      nats += loss.sum_nats;
      correct += loss.correct;
      taught += loss.taught_nats;
    }
    if (looks > 0) {
      const double mean = taught / static_cast<double>(looks);
      if (std::isfinite(mean)) taught_ = taught_ == 0.0 ? mean : 0.98 * taught_ + 0.02 * mean;
    }
    double norm = 0.0;
    try {
      norm = optimizer_->step(trainee_->parameters(), rate);
      without_effect_ = 0;
    } catch (const Error& error) {
      ++skipped_;
      if (error.code() != ErrorCode::kInput || ++without_effect_ >= 10) throw;
    }
    ++state_.step;
    state_.tokens += rows;
    remember(nats, labels, correct, norm, rate);
    report(RunReport::Phase::kSteps,
           static_cast<double>(state_.step) / static_cast<double>(recipe_.schedule.steps));
    if (material_.valid && state_.step % recipe_.checkpoint.valid_steps == 0 &&
        state_.step < recipe_.schedule.steps) {
      validate();
    }
    const bool due = since(saved_) > 60.0 * recipe_.checkpoint.minutes ||
                     state_.step % recipe_.checkpoint.steps == 0;
    if (due && state_.step < recipe_.schedule.steps) save("running");
  }

  /// A point of the curve every few steps; at most some thousands in a run.
  void remember(double nats, std::int64_t labels, std::int64_t correct, double norm, double rate) {
    if (labels > 0) {
      const double loss = nats / static_cast<double>(labels);
      state_.running = state_.running == 0.0 ? loss : 0.98 * state_.running + 0.02 * loss;
    }
    auto& open = state_.open;
    open.nats += nats;
    open.labels += labels;
    open.correct += correct;
    open.norms += norm;
    ++open.steps;
    if (state_.step % kPointSteps != 0 && state_.step != recipe_.schedule.steps) return;
    const auto n = static_cast<double>(std::max<std::int64_t>(1, open.labels));
    state_.train.push_back({state_.step,
                            state_.tokens,
                            open.nats / n,
                            static_cast<double>(open.correct) / n,
                            rate,
                            open.norms / static_cast<double>(open.steps)});
    open = {};
  }

  void validate() {
    if (!state_.valid.empty() && state_.valid.back().step == state_.step) return;
    state_.valid.push_back(judged(*material_.valid, recipe_.checkpoint.valid_tokens));
  }

  /// Over one pass, or over so many tokens of it.
  Point judged(const Source& source, std::int64_t wanted) {
    Point point{.step = state_.step, .tokens = state_.tokens};
    double nats = 0.0;
    std::int64_t labels = 0;
    std::int64_t correct = 0;
    std::int64_t rows = 0;
    const std::uint64_t pass = source.pass();
    for (std::uint64_t n = 0; n < pass && rows < wanted; ++n) {
      report(RunReport::Phase::kValidation,
             std::max(static_cast<double>(rows) / static_cast<double>(wanted),
                      static_cast<double>(n) / static_cast<double>(pass)));
      const Batch batch = source.batch(n);
      const Loss loss = trainee_->step(batch, {.train = false});
      nats += loss.sum_nats;
      labels += loss.count;
      correct += loss.correct;
      rows += rows_in(batch);
    }
    const auto n = static_cast<double>(std::max<std::int64_t>(1, labels));
    point.loss = nats / n;
    point.accuracy = static_cast<double>(correct) / n;
    point.learning_rate = recipe_.schedule.at(state_.step);
    report(RunReport::Phase::kValidation, 1.0);
    return point;
  }

  void save(const char* status) {
    report(RunReport::Phase::kCheckpoint, 0.0);
    state_.seconds = before_ + since(start_);
    save_checkpoint(options_.folder, *trainee_, *optimizer_, state_);
    // The record follows the checkpoint: it never knows more than what a run can go on from.
    store_->write(state_.run, status, state_);
    saved_ = Clock::now();
    report(RunReport::Phase::kCheckpoint, 1.0);
  }

  const Recipe& recipe_;
  const RunOptions& options_;
  FolderHold hold_;
  std::optional<fs::path> checkpoint_;
  Material material_;
  std::optional<Trainee> trainee_;
  std::optional<AdamW> optimizer_;
  std::optional<RunStore> store_;
  RunState state_;
  Clock::time_point start_ = Clock::now(), saved_ = start_;
  std::int64_t first_step_ = 0, first_tokens_ = 0, skipped_ = 0, without_effect_ = 0;
  double before_ = 0.0;  // seconds of earlier calls
  double taught_ = 0.0;  // mean nats of late, for people who watch
};

}  // namespace

RunResult run_recipe(const Recipe& recipe, const RunOptions& options) {
  // All files, before the first is read: some are wanted only after hours.
  std::error_code ignored;
  const bool made = !options.tokenizer.empty() ||
                    (options.resume && fs::exists(options.folder / "tokenizer.json", ignored));
  check_files(recipe, !made);
  return Runner(recipe, options).go();
}

}  // namespace headscope::train
