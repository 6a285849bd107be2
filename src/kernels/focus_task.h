#pragma once

#include <cstddef>
#include <cstdint>

namespace headscope::kernels {

/// Where a task records what the head does, all indexed by row of the head; nullptr: not wanted.
struct RowRecord {
  float* entropy = nullptr;  // not null: all eight statistics are wanted
  float* max_weight = nullptr;
  std::int32_t* argmax = nullptr;
  float* distance_mean = nullptr;
  float* distance_var = nullptr;
  float* first_mass = nullptr;
  float* self_mass = nullptr;
  float* previous_mass = nullptr;

  int top_k = 0;  // 0..kMaxTop
  std::int32_t* top_keys = nullptr;
  float* top_weights = nullptr;

  // Sums over the rows of this task only; focus() joins the tasks of a head in order.
  float* column_mass = nullptr;  // [Tk], added to
  float* pooled_sum = nullptr;   // [rows of cells touched by the task, pooled_columns], added to
  float* pooled_max = nullptr;
  std::int64_t rows_per_cell = 1;
  std::int64_t keys_per_cell = 1;
  std::int64_t pooled_columns = 0;
};

/// Largest top_k.
inline constexpr int kMaxTop = 32;

/// Some rows of one head of one batch element: the unit of work of `focus`.
struct FocusTask {
  const float* q = nullptr;  // row i at q + i * q_stride
  const float* k = nullptr;
  const float* v = nullptr;
  float* out = nullptr;
  float* lse = nullptr;  // [Tq], never nullptr
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0, out_stride = 0;
  std::int64_t rows = 0, keys = 0, width = 0, value_width = 0;
  std::int64_t row_begin = 0, row_end = 0;

  float scale = 1.0F;
  bool causal = false;
  std::int64_t window_left = -1, window_right = -1, prefix = 0, offset = 0;
  float softcap = 0.0F;
  float slope = 0.0F;
  const float* sink = nullptr;             // this head's
  const std::uint8_t* key_mask = nullptr;  // [Tk]
  const float* bias = nullptr;             // element (i,j) at bias + i * bias_row_stride + j
  std::int64_t bias_row_stride = 0;

  RowRecord record;
  float* scratch = nullptr;  // scratch_floats(task) floats, 64-byte aligned
};

/// The keys [begin, end) that some row in [row_first, row_last] may see by causality and windows
/// alone.
struct KeyRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

inline KeyRange key_range(const FocusTask& t, std::int64_t row_first, std::int64_t row_last) {
  const std::int64_t p_first = row_first + t.offset;
  const std::int64_t p_last = row_last + t.offset;
  KeyRange range{0, t.keys};
  if (t.causal) {
    const std::int64_t end = p_last + 1 > t.prefix ? p_last + 1 : t.prefix;
    if (end < range.end) range.end = end;
  }
  if (t.window_left >= 0 && p_first - t.window_left > range.begin)
    range.begin = p_first - t.window_left;
  if (t.window_right >= 0 && p_last + t.window_right + 1 < range.end)
    range.end = p_last + t.window_right + 1;
  if (range.end < range.begin) range.end = range.begin;
  return range;
}

inline bool visible(const FocusTask& t, std::int64_t i, std::int64_t j) {
  const std::int64_t p = i + t.offset;
  if (t.causal && j > p && j >= t.prefix) return false;
  if (t.window_left >= 0 && j < p - t.window_left) return false;
  if (t.window_right >= 0 && j > p + t.window_right) return false;
  return t.key_mask == nullptr || t.key_mask[j] != 0;
}

}  // namespace headscope::kernels
