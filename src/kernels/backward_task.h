#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/isa.h"

namespace headscope::kernels {

/// What some keys of one head give back: the unit of work of `focus_backward`. Strides are in floats.
struct BackwardTask {
  const float* q = nullptr;  // row i at q + i * q_stride
  const float* k = nullptr;
  const float* v = nullptr;
  const float* dout = nullptr;
  const float* lse = nullptr;    // [rows]; kBlindRow where a row sees nothing
  const float* delta = nullptr;  // [rows] dout_i . out_i - dlse_i
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0, dout_stride = 0;
  std::int64_t rows = 0, keys = 0, width = 0, value_width = 0;
  std::int64_t key_begin = 0, key_end = 0;  // the keys of this task

  float* dq = nullptr;  // [rows][padded(width)], set to what these keys give, not yet times scale
  float* dk = nullptr;  // row j at dk + j * dk_stride, keys of this task only
  float* dv = nullptr;
  std::int64_t dk_stride = 0, dv_stride = 0;
  bool add = false;        // dk and dv: add to what is there (a further head of the group)
  float* dbias = nullptr;  // added to, as `bias`; nullptr: not wanted
  std::int64_t dbias_row_stride = 0;  // 0: one row for all, the sum over rows

  float scale = 1.0F;
  bool causal = false;
  std::int64_t window_left = -1, window_right = -1, prefix = 0, offset = 0;
  float softcap = 0.0F;
  float slope = 0.0F;
  const std::uint8_t* key_mask = nullptr;  // [keys]
  const float* bias = nullptr;             // element (i,j) at bias + i * bias_row_stride + j
  std::int64_t bias_row_stride = 0;
  const std::int32_t* row_segments = nullptr;  // [rows]; nullptr: none, and so for keys
  const std::int32_t* key_segments = nullptr;  // [keys]

  float* scratch = nullptr;  // floats that BackwardTable::scratch asks for, 64-byte aligned
};

/// In place of lse = -inf: every weight of such a row is e^(s - this) = 0.
inline constexpr float kBlindRow = 1.0e30F;

/// Floats from one row of BackwardTask::dq to the next: whole pairs of the widest vectors.
inline std::int64_t padded(std::int64_t width) {
  constexpr std::int64_t kPair = 32;
  return (width + kPair - 1) / kPair * kPair;
}

/// Numbers [begin, end).
struct Span {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline std::int64_t most(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

/// The keys that row i may see by causality and windows alone.
inline Span keys_of_row(const BackwardTask& t, std::int64_t i) {
  const std::int64_t p = i + t.offset;
  Span seen{0, t.keys};
  if (t.causal) seen.end = least(seen.end, most(p + 1, t.prefix));
  if (t.window_left >= 0) seen.begin = most(0, p - t.window_left);
  if (t.window_right >= 0) seen.end = least(seen.end, p + t.window_right + 1);
  return {seen.begin, most(seen.begin, seen.end)};
}

/// The rows that may see any of the keys [begin, end), by causality and windows alone.
inline Span rows_of_keys(const BackwardTask& t, std::int64_t begin, std::int64_t end) {
  Span rows{0, t.rows};
  if (t.causal && begin >= t.prefix) rows.begin = most(rows.begin, begin - t.offset);
  if (t.window_right >= 0) rows.begin = most(rows.begin, begin - t.window_right - t.offset);
  if (t.window_left >= 0) rows.end = least(rows.end, end + t.window_left - t.offset);
  return {least(rows.begin, t.rows), most(least(rows.begin, t.rows), rows.end)};
}

/// The backward bodies of one instruction set: noexcept and serial, like those of Table.
struct BackwardTable {
  std::string_view name;  ///< as the Table it belongs to
  void (*backward)(const BackwardTask& task) noexcept;
  std::size_t (*scratch)(const BackwardTask& task);  ///< floats of scratch that a task needs
  bool pieces;  ///< whether the keys of a head may be cut into several tasks
};

/// The backward bodies that go with `table`: those of its name, else of the longest name that its own
/// begins with, else the fastest.
const BackwardTable& backward_table(const Table& table);

/// The plain bodies: double precision, row by row.
const BackwardTable& scalar_backward();

/// The bodies with products of bf16 that go with `table`, for numbers that all are bf16; nullptr: it has none.
const BackwardTable* bf16_backward_table(const Table& table);

/// The bodies compiled from Highway that this machine can run: those in f32 slowest first.
struct HighwayBackward {
  std::vector<const BackwardTable*> f32;
  std::vector<const BackwardTable*> bf16;
};
HighwayBackward highway_backward();

/// Of one instruction set; nullptr where it has none.
struct Bf16Backward {
  const BackwardTable* pairs = nullptr;
  const BackwardTable* tiles = nullptr;
};

}  // namespace headscope::kernels
