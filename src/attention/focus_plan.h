#pragma once

#include <cstdint>

#include "headscope/attention.h"
#include "kernels/focus_task.h"

namespace headscope {

/// Checks shapes, strides and options of a call. Errors: kShape, kRange, with `[focus] expected
/// ..., found ...`.
template <typename T>
void check_focus(const FocusInputOf<T>& in, const FocusOutputOf<T>* out, const Sight* sight);

/// The task of one head of one batch element: all rows, nothing recorded, no output set.
kernels::FocusTask task_of(const FocusInput& in, std::int64_t b, std::int64_t h);

}  // namespace headscope
