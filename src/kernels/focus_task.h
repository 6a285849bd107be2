#pragma once

#include <cstddef>
#include <cstdint>

namespace headscope::kernels {

/// Where a task records what a head does, all indexed by row of the head; nullptr: not wanted.
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

  // Sums over the rows and keys of this task only; focus() joins the tasks of a head in order.
  float* column_mass = nullptr;  // [key_end - key_begin], added to
  float* pooled_sum = nullptr;   // [rows of cells touched by the task, pooled_columns], added to
  float* pooled_max = nullptr;
  std::int64_t rows_per_cell = 1;
  std::int64_t keys_per_cell = 1;
  std::int64_t pooled_columns = 0;
  std::int64_t first_cell = 0;  // row of the map where pooled_sum begins
};

/// Largest top_k.
inline constexpr int kMaxTop = 32;

/// What q, k, v and out are made of.
enum class Number : std::uint8_t { kF32, kBF16 };

/// One query head of a task.
struct HeadTask {
  const void* q = nullptr;  // row i at q + i * q_stride elements
  void* out = nullptr;
  float* lse = nullptr;         // [rows], never nullptr
  float slope = 0.0F;           // ALiBi
  const float* sink = nullptr;  // this head's
  const float* bias = nullptr;  // element (i,j) at bias + i * bias_row_stride + j
  RowRecord record;
};

/// Some rows of one key/value head of one sequence: the unit of work of `focus`. Rows of `heads` query
/// heads stand side by side, row r being row r / heads of head r % heads: they share keys and values.
struct FocusTask {
  Number number = Number::kF32;
  const HeadTask* head = nullptr;  // [heads]
  std::int64_t heads = 1;
  const void* k = nullptr;  // row j at k + j * k_stride elements, or as the body packed it
  const void* v = nullptr;
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0, out_stride = 0;
  std::int64_t rows = 0, keys = 0, width = 0, value_width = 0;  // rows of one head
  std::int64_t row_begin = 0, row_end = 0;                      // of rows * heads
  std::int64_t key_begin = 0, key_end = 0;  // of keys; begin is a multiple of the body's block

  float scale = 1.0F;
  bool causal = false;
  std::int64_t window_left = -1, window_right = -1, prefix = 0, offset = 0;
  float softcap = 0.0F;
  const std::uint8_t* key_mask = nullptr;      // [keys]
  const std::int32_t* row_segments = nullptr;  // [rows]; nullptr: none, and so for keys
  const std::int32_t* key_segments = nullptr;  // [keys]
  std::int64_t bias_row_stride = 0;

  // Where this sequence begins in what is recorded (packed batches; 0 otherwise).
  std::int64_t row_base = 0, key_base = 0;

  std::byte* scratch = nullptr;  // as many bytes as the body asks for, 64-byte aligned
  bool split = false;            // keys are split: leave the sums at `state` for `join`
  std::byte* state = nullptr;

  [[nodiscard]] std::int64_t row_of(std::int64_t r) const { return r / heads; }
  [[nodiscard]] const HeadTask& head_of(std::int64_t r) const { return head[r % heads]; }
};

/// Keys [begin, end).
struct KeyRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// What row i may see by causality and windows alone: always one stretch of keys, perhaps empty.
inline KeyRange key_range(const FocusTask& t, std::int64_t i) {
  const std::int64_t p = i + t.offset;
  KeyRange range{0, t.keys};
  if (t.causal) {
    const std::int64_t end = p + 1 > t.prefix ? p + 1 : t.prefix;
    if (end < range.end) range.end = end;
  }
  if (t.window_left >= 0 && p - t.window_left > range.begin) range.begin = p - t.window_left;
  if (t.window_right >= 0 && p + t.window_right + 1 < range.end) range.end = p + t.window_right + 1;
  if (range.begin > t.keys) range.begin = t.keys;
  if (range.end < range.begin) range.end = range.begin;
  return range;
}

/// The keys that some row in [first, last] may see by causality and windows alone.
inline KeyRange key_range(const FocusTask& t, std::int64_t first, std::int64_t last) {
  return {key_range(t, first).begin, key_range(t, last).end};
}

}  // namespace headscope::kernels
