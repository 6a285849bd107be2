#include "headscope/attention.h"
#include "headscope/linear.h"

namespace headscope {

namespace {
template <typename T>
View<T, 2> as_rows(const View<T, 3>& x) {
  if (!x.contiguous())
    throw Error(ErrorCode::kShape,
                "[project] expected contiguous rows, found strided " + to_string(x.shape));
  return View<T, 2>(x.data, {x.shape[0] * x.shape[1], x.shape[2]});
}
}  // namespace

void project(const AttentionWeights& weights, View<const float, 3> x, View<float, 3> qkv) {
  (*weights.qkv)(as_rows(x), as_rows(qkv));
}

void output(const AttentionWeights& weights, View<const float, 3> merged, View<float, 3> out) {
  (*weights.output)(as_rows(merged), as_rows(out));
}

}  // namespace headscope
