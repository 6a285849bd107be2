// Tunes, for models that foretell the next note.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "headscope/error.h"
#include "headscope/media.h"
#include "headscope/safetensors.h"
#include "train/draws.h"
#include "train/material.h"
#include "train/recipe_model.h"
#include "train/rows.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {

/// Part of a tune, and the first step that is to be foretold.
struct Window {
  std::size_t tune = 0;
  std::int64_t from = 0, to = 0, asked = 0;  // steps
};

struct Tunes {
  NoteCode code;
  std::vector<Score> scores;
  std::int64_t steps = 0;  // of a window

  [[nodiscard]] std::int64_t voices() const {
    return static_cast<std::int64_t>(code.voices.size());
  }

  /// [start] and the notes of a window, moved by `shift` semitones. Each row foretells the note behind it, if that
  /// stands in a step that is asked for; the last one what follows the window when `on` is set.
  void add(const Window& window, int shift, bool on, Rows& rows) const {
    const Score& whole = scores[window.tune];
    Score part = whole;
    const auto V = static_cast<std::size_t>(voices());
    const std::int64_t to = std::min(whole.steps(), window.to + (on ? 1 : 0));
    part.pitch.assign(whole.pitch.begin() + window.from * voices(),
                      whole.pitch.begin() + to * voices());
    for (std::int16_t& pitch : part.pitch) {
      if (pitch >= 0) pitch = static_cast<std::int16_t>(pitch + shift);
    }
    std::vector<std::int32_t> ids = ids_of(part, code);
    if (on) ids.push_back(code.end);
    const auto length = static_cast<std::size_t>((window.to - window.from) * voices()) + 1;
    for (std::size_t i = 0; i < length; ++i) {
      const bool asked = i + 1 < ids.size() && (on || i + 1 < length) &&
                         window.from + static_cast<std::int64_t>(i / V) >= window.asked;
      rows.add(ids[i], asked ? ids[i + 1] : kNoLabel);
    }
    rows.end_sequence();
  }
};

Tunes tunes_of(const std::vector<fs::path>& paths,
               const std::string& part,
               const NoteCode& code,
               std::int64_t window) {
  Tunes out;
  out.code = code;
  for (const fs::path& path : paths) {
    for (Score& score : read_scores(path, part, code)) {
      (void)ids_of(score, code);  // Says at once which pitch does not fit.
      out.scores.push_back(std::move(score));
    }
  }
  out.steps = (window - 1) / out.voices();
  if (out.steps < 2) {
    throw Error(ErrorCode::kShape,
                fmt::format("[data] expected a window of at least two steps of {} voices, found {} "
                            "tokens",
                            out.voices(),
                            window));
  }
  return out;
}

/// As many windows of each tune as it fills, all once before any comes again, each beginning at a bar by chance.
class TuneSource final : public Source {
 public:
  TuneSource(Tunes tunes, std::int64_t each, int transpose, std::uint64_t seed)
      : tunes_(std::move(tunes)), each_(each), transpose_(transpose), seed_(seed) {
    for (std::size_t t = 0; t < tunes_.scores.size(); ++t) {
      const std::int64_t windows = (tunes_.scores[t].steps() + tunes_.steps - 1) / tunes_.steps;
      order_.insert(order_.end(), static_cast<std::size_t>(windows), t);
    }
  }

  [[nodiscard]] Batch batch(std::uint64_t n) const override {
    Rows rows;
    const std::uint64_t all = order_.size();
    const auto each = static_cast<std::uint64_t>(each_);
    for (std::uint64_t i = n * each; i < (n + 1) * each; ++i) {
      const std::uint64_t at = shuffled(i % all, all, draw(seed_, 0, i / all));
      const std::uint64_t chance = draw(seed_ + 1, i);
      const Window window = some_window(order_[at], draw(chance, 0));
      tunes_.add(window, shift(window.tune, draw(chance, 1)), true, rows);
    }
    return rows.batch();
  }
  [[nodiscard]] std::uint64_t pass() const override {
    return (order_.size() + static_cast<std::uint64_t>(each_) - 1) /
           static_cast<std::uint64_t>(each_);
  }

 private:
  [[nodiscard]] Window some_window(std::size_t tune, std::uint64_t chance) const {
    const Score& score = tunes_.scores[tune];
    const std::int64_t bar = std::int64_t{score.steps_per_beat} * score.beats_per_bar;
    const std::int64_t late = std::max<std::int64_t>(0, score.steps() - tunes_.steps);
    const auto places = static_cast<std::uint64_t>((late + bar - 1) / bar + 1);
    const std::int64_t from =
        std::min(static_cast<std::int64_t>(below(chance, places)), (score.steps() - 1) / bar) * bar;
    return {tune, from, std::min(score.steps(), from + tunes_.steps), from};
  }

  /// So that all pitches stay inside the code.
  [[nodiscard]] int shift(std::size_t tune, std::uint64_t chance) const {
    int down = -transpose_;
    int up = transpose_;
    for (const std::int16_t pitch : tunes_.scores[tune].pitch) {
      if (pitch < 0) continue;
      down = std::max(down, tunes_.code.lowest - pitch);
      up = std::min(up, tunes_.code.highest - pitch);
    }
    return down + static_cast<int>(below(chance, static_cast<std::uint64_t>(up - down + 1)));
  }

  Tunes tunes_;
  std::int64_t each_;
  int transpose_;
  std::uint64_t seed_;
  std::vector<std::size_t> order_;
};

/// Every note of every tune foretold once, from at least half a window before it where there is as much.
class TuneTest final : public Source {
 public:
  explicit TuneTest(Tunes tunes) : tunes_(std::move(tunes)) {
    const std::int64_t half = tunes_.steps / 2;
    for (std::size_t t = 0; t < tunes_.scores.size(); ++t) {
      const std::int64_t steps = tunes_.scores[t].steps();
      std::int64_t asked = 0;
      for (std::int64_t from = 0; asked < steps; from += half) {
        const std::int64_t to = std::min(steps, from + tunes_.steps);
        windows_.push_back({t, from, to, asked});
        asked = to;
      }
    }
  }
  [[nodiscard]] Batch batch(std::uint64_t n) const override {
    Rows rows;
    const std::size_t end = std::min(windows_.size(), (n + 1) * kEach);
    for (std::size_t i = n * kEach; i < end; ++i) tunes_.add(windows_[i], 0, false, rows);
    return rows.batch();
  }
  [[nodiscard]] std::uint64_t pass() const override {
    return (windows_.size() + kEach - 1) / kEach;
  }

 private:
  static constexpr std::size_t kEach = 4;
  Tunes tunes_;
  std::vector<Window> windows_;
};

}  // namespace

Material tune_material(const Recipe& recipe, const fs::path& folder) {
  const SequenceCode code = code_of(recipe);
  const auto& data = recipe.data;
  Material out;
  out.config = config_of(recipe, code);
  Tunes tunes = tunes_of(data.train, "train", *code.notes, data.window);
  out.key = fmt::format("{} tunes, {} {}", tunes.scores.size(), data.transpose, recipe.code);
  const auto& training = recipe.training;
  const std::int64_t each = training.batch_tokens / training.accumulate / data.window;
  out.train = std::make_unique<TuneSource>(
      std::move(tunes), std::max<std::int64_t>(1, each), data.transpose, training.seed);
  if (!data.valid.empty())
    out.valid = std::make_unique<TuneTest>(tunes_of(data.valid, "valid", *code.notes, data.window));
  if (!data.test.empty())
    out.test = std::make_unique<TuneTest>(tunes_of(data.test, "test", *code.notes, data.window));
  write_file(folder / "media.json", std::string_view(recipe.code));
  return out;
}

}  // namespace headscope::train
