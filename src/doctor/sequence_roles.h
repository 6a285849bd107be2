#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/baseline.h"
#include "headscope/music.h"
#include "media/moving.h"

/// What heads of models of music, tables and videos look at.
namespace headscope::doctor {

/// One thing a head may look at. A hit is a row whose largest weight, among the keys that count, lies on a key that
/// is meant.
struct Pointing {
  std::string_view name;  ///< in JSON
  std::int64_t n = 0;     ///< rows that have such a key
  double baseline =
      0.0;  ///< hits of a choice by chance; of "follow": of the best fixed displacement
  std::vector<double> accuracy;  ///< hits / n, one a head, in the order of heads_of
  /// Ten points above the baseline and twice as good, over at least 50 rows (Voita 2019 s5.2).
  [[nodiscard]] bool stands_out(std::size_t head) const;
};

/// Tokens of a tune: [start], then the voices of each step. Each row stands for the note behind it, which it
/// foretells. "voice": any earlier note of that note's voice; "step", "beat", "bar": that voice, so long before;
/// "together": the other voices of its step. "octave", "third", "fourth", "fifth", "sixth": notes of other voices so
/// far from the row's own note. Errors: those of Model::run; kInput without a tune.
std::vector<Pointing> tune_pointings(const Model& model,
                                     const NoteCode& code,
                                     std::span<const std::vector<std::int32_t>> tunes,
                                     int beats_per_bar);

/// Tokens of one column: [start], then its numbers. "period": what stood one period before the number that a row
/// foretells; "phase": one period before the row's own; "previous": the number before.
std::vector<Pointing> table_pointings(const Model& model,
                                      std::span<const std::vector<std::int32_t>> columns,
                                      std::int64_t period);

/// Moving pictures of the model's size, made from seed on. Rows of "follow" are patches of a thing that were seen in
/// the frame before too; the keys that count are that frame's. "place": the same place in the frame before; "side",
/// "above": the patches that touch it. Errors: kUnsupported when the model reads no such videos.
std::vector<Pointing> moving_pointings(const Model& model,
                                       const media::MovingOptions& options,
                                       std::int64_t clips,
                                       std::uint64_t seed);

}  // namespace headscope::doctor
