#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "headscope/attention.h"
#include "kernels/focus_task.h"

namespace headscope {

/// Checks shapes, strides and options of a call. Errors: kShape, kRange, with `[focus] expected
/// ..., found ...`.
template <typename T>
void check_focus(const FocusInputOf<T>& in, const FocusOutputOf<T>* out, const Sight* sight);

/// Checks segments and cu_seqlens of B batch elements with Tq rows and Tk keys. Errors: kShape, kRange.
void check_packing(const FocusOptions& o, std::int64_t B, std::int64_t Tq, std::int64_t Tk);

/// One sequence of a call: the whole call, or one of a packed batch.
struct Sequence {
  std::int64_t row = 0, rows = 0;  // on the row axis of the call
  std::int64_t key = 0, keys = 0;
};
std::vector<Sequence> sequences_of(const FocusOptions& options, std::int64_t Tq, std::int64_t Tk);

/// The task of key/value head g of one sequence and its query heads [h, h + heads): all rows and keys,
/// nothing recorded, no output set. `head` gets `heads` entries that live as long as the task.
template <typename T>
kernels::FocusTask task_of(const FocusInputOf<T>& in,
                           const Sequence& sequence,
                           std::int64_t b,
                           std::int64_t h,
                           std::span<kernels::HeadTask> head);

}  // namespace headscope
