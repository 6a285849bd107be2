#pragma once

#include "headscope/attention.h"

namespace headscope {

/// The buffers between the steps of one call, and the copies of them that a trace keeps.
class Workspace {
 public:
  /// Checks shapes. Errors: kShape.
  Workspace(const AttentionWeights& weights,
            View<const float, 3> x,
            View<float, 3> out,
            const AttentionCall& call);

  /// Where keys and values come from.
  [[nodiscard]] View<const float, 3> memory() const {
    return call_.memory.data == nullptr ? x_ : call_.memory;
  }
  [[nodiscard]] const Projected& projected() const { return projected_; }
  View<float, 3> merged() { return merged_.view<float, 3>(); }
  View<float, 3> lse() { return lse_.empty() ? View<float, 3>() : lse_.view<float, 3>(); }

  /// After focus: x, q, k, v, what every head found, lse. Nothing without a trace.
  void trace_findings(const Slices& slices);
  /// After output: what went in (after edits) and what came out.
  void trace_output();

 private:
  const AttentionWeights& weights_;
  const AttentionCall& call_;
  View<const float, 3> x_;
  View<float, 3> out_;
  Tensor qkv_;
  Tensor memory_;  // keys and values of another sequence
  Projected projected_;
  Tensor merged_;
  Tensor lse_;
};

}  // namespace headscope
