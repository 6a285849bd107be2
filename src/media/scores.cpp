// Collections of tunes: MIDI files, folders of them, published grids in JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/media.h"
#include "headscope/safetensors.h"

namespace headscope {

namespace {

namespace fs = std::filesystem;

// The pitches of a step; of fewer than there are voices the first is the highest voice's, the last the lowest one's.
void add_step(const std::vector<double>& pitches, std::size_t voices, Score& score) {
  std::vector<std::int16_t> step(voices, -1);
  for (std::size_t n = 0; n < pitches.size(); ++n) {
    const bool last = n > 0 && n + 1 == pitches.size();
    step[last ? voices - 1 : n] = static_cast<std::int16_t>(pitches[n]);
  }
  score.pitch.insert(score.pitch.end(), step.begin(), step.end());
}

// A step is a list of pitches, one a voice; those that are silent may be left out.
Score score_from(const json::Value& steps, const NoteCode& code, const std::string& where) {
  Score score;
  score.voices = static_cast<int>(code.voices.size());
  score.steps_per_beat = code.steps_per_beat;
  for (const json::Value& step : json::as<std::vector<json::Value>>(steps, "a tune", where)) {
    // Published files write 67 as 67.0.
    const auto pitches = json::as<std::vector<double>>(step, "a step", where);
    const bool fits = pitches.size() <= code.voices.size() &&
                      std::all_of(pitches.begin(), pitches.end(), [](double pitch) {
                        return pitch >= -1 && pitch < 128 && pitch == std::floor(pitch);
                      });
    if (!fits) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected at most {} whole pitches -1..127 a step, found {}",
                              where,
                              code.voices.size(),
                              json::describe(step)));
    }
    add_step(pitches, code.voices.size(), score);
  }
  return score;
}

std::vector<Score> scores_in_json(const std::string& text,
                                  const std::string& where,
                                  const std::string& part,
                                  const NoteCode& code) {
  const json::Value all = json::parse(text, where, {.depth = 8, .bytes = std::size_t{256} << 20});
  const json::Value* tunes = all.is_array() ? &all : json::find(all, part, where);
  if (tunes == nullptr) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected tunes under {}, found none", where, json::quote(part)));
  }
  std::vector<Score> out;
  for (const json::Value& tune : json::as<std::vector<json::Value>>(*tunes, "tunes", where)) {
    Score score = score_from(tune, code, where);
    if (score.steps() > 0) out.push_back(std::move(score));
  }
  return out;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> out;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && sniff(entry.path()) == MediaKind::kMidi)
      out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

std::vector<Score> read_scores(const fs::path& path,
                               const std::string& part,
                               const NoteCode& code) {
  std::vector<Score> out;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    for (const fs::path& file : files_in(path)) out.push_back(score_of(read_midi(file), code));
  } else if (sniff(path) == MediaKind::kText) {
    out = scores_in_json(read_file(path, std::size_t{256} << 20), path.string(), part, code);
  } else {
    out.push_back(score_of(read_midi(path), code));
  }
  if (out.empty())
    throw Error(ErrorCode::kInput, fmt::format("[{}] expected tunes, found none", path.string()));
  return out;
}

}  // namespace headscope
