// Tunes as voices over a grid, and as the tokens of a model.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "headscope/error.h"
#include "headscope/music.h"

namespace headscope {

namespace {

constexpr std::int64_t kMostSteps = std::int64_t{1} << 20;

// First and last step (one behind) of a note, to the nearest; a note is heard for a step at least.
struct Stretch {
  std::int64_t from = 0, to = 0;
};

Stretch steps_of(const Note& note, const Tune& tune, int steps_per_beat) {
  const auto nearest = [&](std::int64_t tick) {
    const std::int64_t n = tick * steps_per_beat;
    return (2 * n + tune.ticks_per_beat) / (2 * std::int64_t{tune.ticks_per_beat});
  };
  const std::int64_t from = nearest(note.onset);
  return {from, std::max(nearest(note.onset + note.length), from + 1)};
}

// Parts (channel and track) when there are as many as voices, the highest first; else none.
std::vector<std::pair<int, int>> parts_of(const Tune& tune, std::size_t voices) {
  std::map<std::pair<int, int>, std::pair<double, double>> heard;  // sum of pitches, count
  for (const Note& note : tune.notes) {
    auto& [sum, count] = heard[{note.track, note.channel}];
    sum += note.pitch;
    count += 1.0;
    if (heard.size() > voices) return {};
  }
  if (heard.size() != voices) return {};
  std::vector<std::pair<double, std::pair<int, int>>> order;
  for (const auto& [part, what] : heard) order.push_back({-what.first / what.second, part});
  std::sort(order.begin(), order.end());
  std::vector<std::pair<int, int>> out;
  for (const auto& [height, part] : order) out.push_back(part);
  return out;
}

// The first voice takes the highest of the notes that sound together, the last the lowest, those between the rest
// from above.
void share_out(const std::vector<std::int16_t>& sounding, std::span<std::int16_t> voices) {
  std::fill(voices.begin(), voices.end(), std::int16_t{-1});
  if (sounding.empty()) return;
  voices.front() = sounding.front();
  if (voices.size() == 1 || sounding.size() == 1) return;
  voices.back() = sounding.back();
  const std::size_t between = std::min(sounding.size(), voices.size()) - 2;
  for (std::size_t n = 0; n < between; ++n) voices[n + 1] = sounding[n + 1];
}

// A part sings one note at a time: the next one ends it, and of a chord the highest stays.
void fill_parts(const Tune& tune,
                const NoteCode& code,
                const std::vector<std::pair<int, int>>& parts,
                Score& score) {
  struct Sung {
    Stretch at;
    std::int16_t pitch = -1;
  };
  std::vector<Sung> last(parts.size());
  const auto put = [&](std::size_t voice, std::int64_t until) {
    const Sung& sung = last[voice];
    for (std::int64_t s = sung.at.from; s < std::min(sung.at.to, until); ++s)
      score.pitch[static_cast<std::size_t>(s) * parts.size() + voice] = sung.pitch;
  };
  for (const Note& note : tune.notes) {
    const auto part =
        std::find(parts.begin(), parts.end(), std::pair<int, int>(note.track, note.channel));
    const auto voice = static_cast<std::size_t>(part - parts.begin());
    const Stretch at = steps_of(note, tune, code.steps_per_beat);
    if (last[voice].pitch >= 0 && last[voice].at.from == at.from && last[voice].pitch >= note.pitch)
      continue;
    put(voice, at.from);
    last[voice] = {at, note.pitch};
  }
  for (std::size_t voice = 0; voice < parts.size(); ++voice) put(voice, score.steps());
}

void set_time(const Tune& tune, Score& score) {
  for (const Tune::Meter& meter : tune.meters) {
    // Beats are quarter notes here: a bar of 6/8 has three.
    score.beats_per_bar = std::clamp(meter.beats * 4 / std::max(meter.unit, 1), 1, 64);
    break;
  }
  if (!tune.tempos.empty())
    score.beat_seconds = static_cast<double>(tune.tempos.front().microseconds) * 1e-6;
}

std::string place_in_bar(std::int64_t step, int steps_per_beat, int beats_per_bar) {
  const std::int64_t beat = step / steps_per_beat % beats_per_bar + 1;
  const double part = static_cast<double>(step % steps_per_beat) / steps_per_beat;
  return fmt::format("{:.3g}", static_cast<double>(beat) + part);
}

void check_code(const NoteCode& code) {
  if (!code.voices.empty() && code.steps_per_beat > 0 && code.lowest >= 0 &&
      code.highest >= code.lowest && code.highest < 128) {
    return;
  }
  throw Error(ErrorCode::kRange,
              fmt::format("[notes] expected voices, steps and pitches within 0..127, found {}, {}, "
                          "{}..{}",
                          code.voices.size(),
                          code.steps_per_beat,
                          code.lowest,
                          code.highest));
}

}  // namespace

std::string note_name(int pitch) {
  static constexpr std::array<const char*, 12> kNames = {
      "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"};
  if (pitch < 0 || pitch > 127)
    throw Error(ErrorCode::kRange, fmt::format("[notes] expected a pitch 0..127, found {}", pitch));
  return fmt::format("{}{}", kNames[static_cast<std::size_t>(pitch % 12)], pitch / 12 - 1);
}

Score score_of(const Tune& tune, const NoteCode& code) {
  check_code(code);
  Score score;
  score.voices = static_cast<int>(code.voices.size());
  score.steps_per_beat = code.steps_per_beat;
  set_time(tune, score);
  if (tune.notes.empty()) throw Error(ErrorCode::kInput, "[notes] expected notes, found none");
  std::int64_t steps = 0;
  for (const Note& note : tune.notes)
    steps = std::max(steps, steps_of(note, tune, code.steps_per_beat).to);
  if (steps > kMostSteps) {
    throw Error(ErrorCode::kResources,
                fmt::format("[notes] expected at most {} steps, found {}", kMostSteps, steps));
  }
  const std::size_t voices = code.voices.size();
  score.pitch.assign(static_cast<std::size_t>(steps) * voices, -1);
  const auto parts = parts_of(tune, voices);
  if (!parts.empty()) {
    fill_parts(tune, code, parts, score);
    return score;
  }
  // Beginnings and ends of notes, swept from left to right.
  std::vector<std::vector<std::int16_t>> on(static_cast<std::size_t>(steps));
  auto off = on;
  for (const Note& note : tune.notes) {
    const Stretch at = steps_of(note, tune, code.steps_per_beat);
    on[static_cast<std::size_t>(at.from)].push_back(note.pitch);
    if (at.to < steps) off[static_cast<std::size_t>(at.to)].push_back(note.pitch);
  }
  std::array<int, 128> sounding{};
  for (std::size_t s = 0; s < on.size(); ++s) {
    for (const std::int16_t pitch : off[s]) --sounding[static_cast<std::size_t>(pitch)];
    for (const std::int16_t pitch : on[s]) ++sounding[static_cast<std::size_t>(pitch)];
    std::vector<std::int16_t> now;
    for (std::int16_t pitch = 127; pitch >= 0; --pitch) {
      if (sounding[static_cast<std::size_t>(pitch)] > 0) now.push_back(pitch);
    }
    share_out(now, std::span(score.pitch).subspan(s * voices, voices));
  }
  return score;
}

Score score_of(std::span<const std::int32_t> ids, const NoteCode& code) {
  check_code(code);
  Score score;
  score.voices = static_cast<int>(code.voices.size());
  score.steps_per_beat = code.steps_per_beat;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= code.vocabulary()) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[notes] expected ids 0..{}, found {}", code.vocabulary() - 1, id));
    }
    if (id == code.rest) {
      score.pitch.push_back(-1);
    } else if (id >= code.first) {
      score.pitch.push_back(static_cast<std::int16_t>(id - code.first + code.lowest));
    }
  }
  while (score.pitch.size() % code.voices.size() != 0) score.pitch.push_back(-1);
  return score;
}

Tune tune_of(const Score& score) {
  Tune tune;
  tune.ticks_per_beat = 120 * score.steps_per_beat;
  constexpr std::int64_t kStep = 120;
  tune.tempos.push_back({0, static_cast<std::int64_t>(score.beat_seconds * 1e6 + 0.5)});
  tune.meters.push_back({0, score.beats_per_bar, 4});
  const std::int64_t steps = score.steps();
  for (std::int64_t voice = 0; voice < score.voices; ++voice) {
    // Voice 10 would be drums.
    const auto channel = static_cast<std::uint8_t>((voice < 9 ? voice : voice + 1) % 16);
    for (std::int64_t from = 0; from < steps;) {
      const auto at = [&](std::int64_t step) {
        return score.pitch[static_cast<std::size_t>(step * score.voices + voice)];
      };
      std::int64_t to = from + 1;
      while (to < steps && at(to) == at(from)) ++to;
      if (at(from) >= 0) {
        tune.notes.push_back({from * kStep,
                              (to - from) * kStep,
                              static_cast<std::uint8_t>(at(from)),
                              80,
                              channel,
                              static_cast<std::uint16_t>(voice)});
      }
      from = to;
    }
  }
  std::stable_sort(tune.notes.begin(), tune.notes.end(), [](const Note& a, const Note& b) {
    return a.onset != b.onset ? a.onset < b.onset : a.pitch > b.pitch;
  });
  return tune;
}

std::vector<std::int32_t> ids_of(const Score& score, const NoteCode& code) {
  check_code(code);
  if (score.voices != static_cast<int>(code.voices.size())) {
    throw Error(
        ErrorCode::kShape,
        fmt::format("[notes] expected {} voices, found {}", code.voices.size(), score.voices));
  }
  std::vector<std::int32_t> ids = {code.start};
  ids.reserve(score.pitch.size() + 1);
  for (std::size_t n = 0; n < score.pitch.size(); ++n) {
    const int pitch = score.pitch[n];
    if (pitch >= 0 && (pitch < code.lowest || pitch > code.highest)) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[notes] expected pitches {}..{}, found {} in step {}",
                              code.lowest,
                              code.highest,
                              pitch,
                              n / code.voices.size()));
    }
    ids.push_back(pitch < 0 ? code.rest : code.first + pitch - code.lowest);
  }
  return ids;
}

std::vector<Label> labels_of(std::span<const std::int32_t> ids,
                             const NoteCode& code,
                             int beats_per_bar) {
  check_code(code);
  std::vector<Label> out;
  std::int64_t n = 0;
  const auto voices = static_cast<std::int64_t>(code.voices.size());
  for (const std::int32_t id : ids) {
    Label label;
    if (id != code.rest && id < code.first) {
      label.text = id == code.start ? "[start]" : id == code.end ? "[end]" : "[?]";
      label.special = true;
    } else {
      label.row = static_cast<int>(n % voices);
      label.column = static_cast<int>(n / voices);
      label.word = n++;
      label.text = fmt::format("{} beat {}, {}",
                               id == code.rest ? "rest" : note_name(id - code.first + code.lowest),
                               place_in_bar(label.column, code.steps_per_beat, beats_per_bar),
                               code.voices[static_cast<std::size_t>(label.row)]);
    }
    out.push_back(std::move(label));
  }
  return out;
}

}  // namespace headscope
