// Multi-head attention in five steps. This file is the table of contents: everything else about a
// step lives beside it, under its name.
#include "headscope/attention.h"

#include "attention/trace.h"

namespace headscope {

void attention(const AttentionWeights& weights,
               View<const float, 3> x,
               View<float, 3> out,
               const AttentionCall& call) {
  Workspace work(weights, x, out, call);

  project(weights, x, work.memory(), work.projected());
  const Slices slices = split(weights, work.projected(), call);
  edit_parts(weights, work.projected(), call);
  focus(slices, {as_heads(work.merged(), weights.heads), work.lse()}, call);
  work.trace_findings(slices);
  merge(work.merged(), weights.heads, call.edits, call.rows);
  output(weights, work.merged(), out);
  work.trace_output();
}

}  // namespace headscope
