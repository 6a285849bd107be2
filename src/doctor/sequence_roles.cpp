#include "doctor/sequence_roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <map>

#include "headscope/error.h"
#include "headscope/threads.h"

namespace headscope::doctor {

namespace {

/// Of a row, the keys that count and those of them that are meant.
struct Asked {
  std::int64_t row = 0;
  std::vector<std::int32_t> meant;  // sorted
  /// Keys [from, to) count, but for those left out.
  std::int64_t from = 0, to = 0;
  std::function<bool(std::int64_t)> counts{};
};

struct Question {
  std::string_view name;
  std::vector<Asked> rows;
};

struct Sum {
  std::int64_t n = 0;
  double by_chance = 0.0;
  std::vector<std::int64_t> hits;
};

class Sums {
 public:
  explicit Sums(const Model& model) : model_(&model), heads_(heads_of(model).size()) {}

  /// Runs the tokens and asks every head every question.
  void ask(const Tokens& tokens, const std::vector<Question>& questions) {
    Sight sight;
    sight.keep_qk = true;
    RunOptions options;
    options.outputs = false;
    options.sight = &sight;
    const Run run = model_->run(tokens, options);
    for (const Question& q : questions) count(q);
    std::size_t before = 0;
    for (int layer = 0; layer < model_->layers(); ++layer) {
      const FocusRecord& record = run.sighting.layers.at(static_cast<std::size_t>(layer));
      const int H = model_->heads(layer);
      parallel_for(H, [&](std::int64_t h) {
        for (const Question& q : questions) {
          sum(q).hits[before + static_cast<std::size_t>(h)] += hits(record, static_cast<int>(h), q);
        }
      });
      before += static_cast<std::size_t>(H);
    }
  }

  [[nodiscard]] std::vector<Pointing> pointings() const {
    std::vector<Pointing> out;
    for (const auto& [name, sum] : sums_) {
      Pointing p;
      p.name = name;
      p.n = sum.n;
      const auto n = static_cast<double>(std::max<std::int64_t>(1, sum.n));
      p.baseline = sum.by_chance / n;
      for (const std::int64_t hit : sum.hits) p.accuracy.push_back(static_cast<double>(hit) / n);
      out.push_back(std::move(p));
    }
    return out;
  }

 private:
  Sum& sum(const Question& q) {
    const auto found = std::find_if(
        sums_.begin(), sums_.end(), [&](const auto& one) { return one.first == q.name; });
    return found->second;
  }

  void count(const Question& q) {
    const bool known = std::any_of(
        sums_.begin(), sums_.end(), [&](const auto& one) { return one.first == q.name; });
    if (!known) sums_.push_back({q.name, {0, 0.0, std::vector<std::int64_t>(heads_, 0)}});
    Sum& to = sum(q);
    for (const Asked& asked : q.rows) {
      std::int64_t keys = 0;
      for (std::int64_t j = asked.from; j < asked.to; ++j)
        keys += !asked.counts || asked.counts(j) ? 1 : 0;
      to.n += 1;
      to.by_chance += static_cast<double>(asked.meant.size()) / static_cast<double>(keys);
    }
  }

  static std::int64_t hits(const FocusRecord& record, int head, const Question& q) {
    std::int64_t out = 0;
    std::vector<float> weights;
    for (const Asked& asked : q.rows) {
      weights.resize(static_cast<std::size_t>(asked.to - asked.from));
      record.row(0, head, asked.row, asked.from, weights);
      std::int64_t best = -1;
      float most = -1.0F;
      for (std::int64_t j = asked.from; j < asked.to; ++j) {
        const float w = weights[static_cast<std::size_t>(j - asked.from)];
        if (w <= most || (asked.counts && !asked.counts(j))) continue;
        most = w;
        best = j;
      }
      out += std::binary_search(
                 asked.meant.begin(), asked.meant.end(), static_cast<std::int32_t>(best))
                 ? 1
                 : 0;
    }
    return out;
  }

  const Model* model_;
  std::size_t heads_;
  std::vector<std::pair<std::string_view, Sum>> sums_;
};

Tokens tokens_of(std::span<const std::int32_t> ids) {
  Tokens out;
  out.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), out.ids.span<std::int32_t>().begin());
  return out;
}

// Rows whose number `of` gives a key, all keys up to the row counting.
Question one_key(std::string_view name,
                 std::int64_t length,
                 const std::function<std::int64_t(std::int64_t)>& of) {
  Question q{name, {}};
  for (std::int64_t i = 1; i < length; ++i) {
    const std::int64_t key = of(i);
    if (key < 1 || key > i) continue;  // 0 is [start]
    q.rows.push_back({i, {static_cast<std::int32_t>(key)}, 0, i + 1, {}});
  }
  return q;
}

// The keys before a row that `meant` says yes to.
Question some_keys(std::string_view name,
                   std::int64_t length,
                   const std::function<bool(std::int64_t row, std::int64_t key)>& meant,
                   const std::function<bool(std::int64_t row, std::int64_t key)>& counts) {
  Question q{name, {}};
  for (std::int64_t i = 1; i < length; ++i) {
    Asked asked{i, {}, 0, i + 1, {}};
    if (counts) asked.counts = [i, counts](std::int64_t key) { return counts(i, key); };
    for (std::int64_t j = 1; j <= i; ++j) {
      if (meant(i, j) && (!counts || counts(i, j)))
        asked.meant.push_back(static_cast<std::int32_t>(j));
    }
    if (!asked.meant.empty()) q.rows.push_back(std::move(asked));
  }
  return q;
}

struct Interval {
  std::string_view name;
  std::array<int, 2> semitones;
};
constexpr Interval kIntervals[] = {{"octave", {0, 0}},
                                   {"third", {3, 4}},
                                   {"fourth", {5, 5}},
                                   {"fifth", {7, 7}},
                                   {"sixth", {8, 9}}};

std::vector<Question> questions_of(std::span<const std::int32_t> ids,
                                   const NoteCode& code,
                                   int beats_per_bar) {
  const auto T = static_cast<std::int64_t>(ids.size());
  const auto V = static_cast<std::int64_t>(code.voices.size());
  const std::int64_t beat = V * code.steps_per_beat;
  const auto ago = [&](std::string_view name, std::int64_t tokens) {
    return one_key(name, T, [tokens](std::int64_t i) { return i + 1 - tokens; });
  };
  std::vector<Question> out;
  // Key j is note j - 1; a row i foretells note i.
  out.push_back(some_keys(
      "voice", T, [V](std::int64_t i, std::int64_t j) { return (i - (j - 1)) % V == 0; }, {}));
  out.push_back(ago("step", V));
  out.push_back(ago("beat", beat));
  out.push_back(ago("bar", beat * beats_per_bar));
  out.push_back(some_keys(
      "together", T, [V](std::int64_t i, std::int64_t j) { return (j - 1) / V == i / V; }, {}));
  const auto pitch = [ids, &code](std::int64_t i) {
    const std::int32_t id = ids[static_cast<std::size_t>(i)];
    return id >= code.first && id != code.rest ? id - code.first : -1;
  };
  const auto other = [pitch, V](std::int64_t i, std::int64_t j) {
    return j >= 1 && (i - j) % V != 0 && pitch(j) >= 0;
  };
  for (const Interval& interval : kIntervals) {
    const auto apart = [pitch, interval](std::int64_t i, std::int64_t j) {
      if (pitch(i) < 0 || pitch(j) < 0) return false;
      const int semitones = std::abs(pitch(i) - pitch(j)) % 12;
      return semitones == interval.semitones[0] || semitones == interval.semitones[1];
    };
    out.push_back(some_keys(interval.name, T, apart, other));
  }
  return out;
}

}  // namespace

bool Pointing::stands_out(std::size_t head) const {
  constexpr double kAbove = 0.10;
  constexpr std::int64_t kFew = 50;
  const double score = accuracy.at(head);
  return n >= kFew && score >= baseline + kAbove && score >= 2.0 * baseline;
}

std::vector<Pointing> tune_pointings(const Model& model,
                                     const NoteCode& code,
                                     std::span<const std::vector<std::int32_t>> tunes,
                                     int beats_per_bar) {
  if (tunes.empty()) throw Error(ErrorCode::kInput, "[roles] expected a tune, found none");
  Sums sums(model);
  for (const std::vector<std::int32_t>& ids : tunes)
    sums.ask(tokens_of(ids), questions_of(ids, code, beats_per_bar));
  return sums.pointings();
}

std::vector<Pointing> table_pointings(const Model& model,
                                      std::span<const std::vector<std::int32_t>> columns,
                                      std::int64_t period) {
  if (columns.empty()) throw Error(ErrorCode::kInput, "[roles] expected a column, found none");
  Sums sums(model);
  for (const std::vector<std::int32_t>& ids : columns) {
    const auto T = static_cast<std::int64_t>(ids.size());
    const auto back = [&](std::string_view name, std::int64_t rows) {
      return one_key(name, T, [rows](std::int64_t i) { return i - rows; });
    };
    sums.ask(tokens_of(ids),
             {back("period", period - 1), back("phase", period), back("previous", 1)});
  }
  return sums.pointings();
}

std::vector<Pointing> moving_pointings(const Model& model,
                                       const media::MovingOptions& given,
                                       std::int64_t clips,
                                       std::uint64_t seed) {
  media::MovingOptions options = given;
  options.frames = model.frames();
  if (options.frames < 2)
    throw Error(ErrorCode::kUnsupported, "[roles] expected a model of videos, found another");
  Sums sums(model);
  std::map<std::int64_t, std::int64_t> displaced;  // how often each displacement is the true one
  std::int64_t rows_followed = 0;
  for (std::int64_t clip = 0; clip < clips; ++clip) {
    const media::Moving moving =
        media::moving_pictures(options, seed + static_cast<std::uint64_t>(clip));
    Tensor rgb(DType::kU8, {options.frames, options.height, options.width, 3});
    for (std::size_t i = 0; i < rgb.span<std::uint8_t>().size(); ++i)
      rgb.span<std::uint8_t>()[i] = moving.grey.span<std::uint8_t>()[i / 3];
    const Tokens tokens = model.pixels(std::as_const(rgb).view<std::uint8_t, 4>());
    const std::vector<Label> labels = model.labels(tokens, 0, 0);
    std::int64_t frames = 0, rows = 0, columns = 0;
    for (const Label& label : labels) {
      frames = std::max<std::int64_t>(frames, label.frame + 1);
      rows = std::max<std::int64_t>(rows, label.row + 1);
      columns = std::max<std::int64_t>(columns, label.column + 1);
    }
    const auto T = static_cast<std::int64_t>(labels.size());
    if (frames != options.frames || T != frames * rows * columns ||
        options.height / rows != options.step || options.width / columns != options.step) {
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("[roles] expected a model of videos whose patches are {0} x {0} pixels "
                      "of one frame, found {1} patches of {2} frames",
                      options.step,
                      T,
                      frames));
    }
    Question follow{"follow", {}}, place{"place", {}}, side{"side", {}}, above{"above", {}};
    for (std::int64_t i = 0; i < T; ++i) {
      const std::int64_t f = i / (rows * columns);
      const std::int64_t r = i / columns % rows;
      const std::int64_t c = i % columns;
      const auto key = [&](std::int64_t frame, std::int64_t row, std::int64_t column) {
        return static_cast<std::int32_t>((frame * rows + row) * columns + column);
      };
      Asked beside{i, {}, 0, T, {}}, over{i, {}, 0, T, {}};
      if (c > 0) beside.meant.push_back(key(f, r, c - 1));
      if (c + 1 < columns) beside.meant.push_back(key(f, r, c + 1));
      if (r > 0) over.meant.push_back(key(f, r - 1, c));
      if (r + 1 < rows) over.meant.push_back(key(f, r + 1, c));
      side.rows.push_back(std::move(beside));
      above.rows.push_back(std::move(over));
      if (f == 0) continue;
      place.rows.push_back({i, {key(f - 1, r, c)}, 0, T, {}});
      const std::int64_t y = r * options.step;
      const std::int64_t x = c * options.step;
      const int thing = moving.seen(f, y, x);
      if (thing < 0) continue;
      const auto& motion = moving.things[static_cast<std::size_t>(thing)];
      if (moving.seen(f - 1, y - motion.down, x - motion.right) != thing) continue;
      const std::int32_t true_one =
          key(f - 1, r - motion.down / options.step, c - motion.right / options.step);
      follow.rows.push_back({i, {true_one}, (f - 1) * rows * columns, f * rows * columns, {}});
      ++displaced[i - true_one];
      ++rows_followed;
    }
    sums.ask(tokens, {follow, place, side, above});
  }
  std::vector<Pointing> out = sums.pointings();
  std::int64_t commonest = 0;
  for (const auto& [offset, n] : displaced) commonest = std::max(commonest, n);
  for (Pointing& p : out) {
    if (p.name == "follow" && rows_followed > 0)
      p.baseline = static_cast<double>(commonest) / static_cast<double>(rows_followed);
  }
  return out;
}

}  // namespace headscope::doctor
