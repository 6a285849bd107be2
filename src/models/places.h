#pragma once

#include <cstdint>
#include <vector>

#include "models/patches.h"

/// Which rows of a picture meet in attention, and how far apart they lie there.
namespace headscope::models {

/// Who sees whom.
enum class Meeting : std::uint8_t {
  kAll,      ///< all rows of a picture
  kWindows,  ///< patches of a square window (Swin)
  kTime,     ///< a patch and itself in the other frames (TimeSformer)
  kSpace,    ///< the patches of a frame, and the first row in every frame (TimeSformer)
};

/// Rows of one picture, laid out as sequences.
struct Places {
  std::int64_t sequences = 1;
  std::int64_t length = 0;
  /// [sequences*length] which row sits here; -1: a row of zeros that fills a window.
  std::vector<std::int64_t> row;
  /// [sequences*length] rows see only rows of their own number; empty: all of their sequence.
  std::vector<std::int32_t> region;
};

/// `in_front` rows come before the patches, which lie frame by frame (kTime, kSpace: patch by patch, the
/// frames of each side by side). Windows of `side` x `side` are moved by `shift` to the right and down, and
/// what then wraps around is kept apart.
/// Source  Liu 2021 (Swin) s3.2; Bertasius 2021 (TimeSformer) s3.
Places places_of(Meeting meeting, const Grid& grid, std::int64_t in_front, std::int64_t side, std::int64_t shift);

/// Sequences of rows, [B,n,C] -> [B*sequences,length,C].
Tensor gathered(const Tensor& x, const Places& places);
/// Back to rows, [B*sequences,length,C] -> [B,n,C]: a row that sits in several sequences gets their mean, one
/// that sits in none zeros.
Tensor scattered(const Tensor& x, const Places& places, std::int64_t n);

/// Bias of windows. Shapes  table [(2 side - 1)^2, H] -> [1,H,side^2,side^2].
Tensor window_bias(const Tensor& table, std::int64_t side);
/// Bias of all patches of a picture and the row in front of them, of a table made for another grid: its last
/// three rows are for that row on others, others on it, and it on itself. The others are interpolated.
/// Shapes  table [(2 rows - 1)(2 columns - 1) + 3, H] of `trained` -> [1,H,T,T].
/// Source  Bao 2021 (BEiT); Birkl 2023 (MiDaS v3.1) for other sizes.
Tensor picture_bias(const Tensor& table, const Grid& trained, const Grid& grid);

}  // namespace headscope::models
