#pragma once

#include "kernels/isa.h"

/// The plain reference of every kernel: double precision, one row after the other, no cleverness.
namespace headscope::kernels::scalar {

/// Scores s_ij of row i of a head of the task for keys [first, first + n), in double; -inf where invisible.
void score_row(const FocusTask& task,
               const HeadTask& head,
               std::int64_t i,
               std::int64_t first,
               std::int64_t n,
               double* s) noexcept;

void focus(const FocusTask& task) noexcept;
std::size_t focus_scratch(const FocusTask& task);
void activate(Activation kind, float* x, std::int64_t n) noexcept;
void layer_norm(const float* x,
                const float* weight,
                const float* bias,
                float eps,
                std::int64_t n,
                float* y) noexcept;
double fma_peak(std::int64_t rounds) noexcept;

}  // namespace headscope::kernels::scalar
