#include "attention/focus_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace headscope {

namespace {

// Further than any key: larger windows mean the same and would overflow.
constexpr std::int64_t kFar = std::int64_t{1} << 40;

using Sizes = std::array<std::int64_t, 4>;

[[noreturn]] void shape_error(const std::string& what,
                              std::span<const std::int64_t> expected,
                              std::span<const std::int64_t> found) {
  throw Error(
      ErrorCode::kShape,
      fmt::format("[focus] expected {} {}, found {}", what, to_string(expected), to_string(found)));
}

void check_axis(const char* what, std::int64_t stride, std::int64_t size) {
  if (size > 1 && stride != 1) {
    throw Error(
        ErrorCode::kShape,
        fmt::format(
            "[focus] expected the last axis of {} contiguous, found stride {}", what, stride));
  }
}

void check_data(const char* what, const void* data, const Sizes& shape) {
  if (data != nullptr || std::find(shape.begin(), shape.end(), 0) != shape.end()) return;
  throw Error(
      ErrorCode::kShape,
      fmt::format("[focus] expected {} {} to be given, found no data", what, to_string(shape)));
}

// An axis of the bias may be 1: the same for all.
bool spreads(std::int64_t size, std::int64_t full) { return size == 1 || size == full; }

// Where sequences of a packed batch begin: rising numbers from 0 to `rows`.
void check_sequences(const char* what, const View<const std::int32_t, 1>& cu, std::int64_t rows) {
  check_axis(what, cu.stride[0], cu.shape[0]);
  const std::int64_t last = cu.shape[0] - 1;
  bool rises = last >= 0 && cu(0) == 0 && cu(last) == rows;
  for (std::int64_t n = 0; rises && n < last; ++n) rises = cu(n) <= cu(n + 1);
  if (!rises) {
    throw Error(ErrorCode::kRange,
                fmt::format("[focus] expected {} to rise from 0 to {}, found {} numbers{}",
                            what,
                            rows,
                            cu.shape[0],
                            last < 0 ? "" : fmt::format(" from {} to {}", cu(0), cu(last))));
  }
}

void check_options(
    const FocusOptions& o, std::int64_t B, std::int64_t H, std::int64_t Tq, std::int64_t Tk) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (Tq > kMost || Tk > kMost) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[focus] expected at most 2^31 - 1 rows and keys, found {} and {}", Tq, Tk));
  }
  check_packing(o, B, Tq, Tk);
  if (o.key_mask.data != nullptr && o.key_mask.shape != std::array{B, Tk}) {
    shape_error("key_mask", Sizes{B, Tk}, o.key_mask.shape);
  }
  if (o.key_mask.data != nullptr) check_axis("key_mask", o.key_mask.stride[1], Tk);
  if (o.bias.data != nullptr) {
    const auto& s = o.bias.shape;
    if (!spreads(s[0], B) || !spreads(s[1], H) || !spreads(s[2], Tq) || s[3] != Tk) {
      shape_error("bias", Sizes{B, H, Tq, Tk}, s);
    }
    check_axis("bias", o.bias.stride[3], Tk);
  }
  if (o.slopes.data != nullptr && o.slopes.shape[0] != H)
    shape_error("slopes", std::array{H}, o.slopes.shape);
  if (o.sinks.data != nullptr && o.sinks.shape[0] != H)
    shape_error("sinks", std::array{H}, o.sinks.shape);
  if (o.query_offset.value_or(0) > kFar || o.query_offset.value_or(0) < -kFar) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[focus] expected query_offset within +-2^40, found {}", *o.query_offset));
  }
  if (o.window_left < -1 || o.window_right < -1 || o.prefix < 0 || o.softcap < 0.0F ||
      !std::isfinite(o.softcap) || !std::isfinite(o.scale.value_or(1.0F))) {
    throw Error(ErrorCode::kRange,
                fmt::format("[focus] expected windows >= -1, prefix >= 0, softcap >= 0 and a "
                            "finite scale, found {} {} {} "
                            "{} {}",
                            o.window_left,
                            o.window_right,
                            o.prefix,
                            o.softcap,
                            o.scale.value_or(1.0F)));
  }
}

void check_sight(const Sight& sight, std::int64_t heads) {
  const auto within = [](int x, int most) { return x >= 0 && x <= most; };
  if (!within(sight.top_k, kernels::kMaxTop) || !within(sight.pooled_rows, 256) ||
      !within(sight.pooled_columns, 256) || (sight.pooled_rows > 0) != (sight.pooled_columns > 0)) {
    throw Error(ErrorCode::kRange,
                fmt::format("[focus] expected top_k 0..{} and a pooled map of 1..256 x 1..256 or "
                            "none, found {} and {} x {}",
                            kernels::kMaxTop,
                            sight.top_k,
                            sight.pooled_rows,
                            sight.pooled_columns));
  }
  for (std::size_t n = 0; n < sight.heads.size(); ++n) {
    const int h = sight.heads[n];
    const bool again =
        std::find(sight.heads.begin(), sight.heads.begin() + static_cast<std::ptrdiff_t>(n), h) !=
        sight.heads.begin() + static_cast<std::ptrdiff_t>(n);
    if (h < 0 || h >= heads || again) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[sight] expected each head once, 0..{}, found {}{}",
                              heads - 1,
                              h,
                              again ? " twice" : ""));
    }
  }
}

}  // namespace

void check_packing(const FocusOptions& o, std::int64_t B, std::int64_t Tq, std::int64_t Tk) {
  if (o.segments.data != nullptr) {
    if (Tq != Tk || o.segments.shape != std::array{B, Tk})
      shape_error("segments", std::array{B, Tq}, o.segments.shape);
    check_axis("segments", o.segments.stride[1], Tk);
  }
  const bool q = o.cu_seqlens_q.data != nullptr;
  if (!q && o.cu_seqlens_k.data == nullptr) return;
  if (B != 1 || !q || o.cu_seqlens_q.shape != o.cu_seqlens_k.shape) {
    throw Error(ErrorCode::kShape,
                fmt::format("[focus] expected cu_seqlens_q and cu_seqlens_k of one length with a "
                            "batch of 1, found {} and {} with {}",
                            o.cu_seqlens_q.shape[0],
                            o.cu_seqlens_k.shape[0],
                            B));
  }
  check_sequences("cu_seqlens_q", o.cu_seqlens_q, Tq);
  check_sequences("cu_seqlens_k", o.cu_seqlens_k, Tk);
}

template <typename T>
void check_focus(const FocusInputOf<T>& in, const FocusOutputOf<T>* out, const Sight* sight) {
  const auto [B, H, Tq, D] = in.q.shape;
  const auto [kb, G, Tk, kd] = in.k.shape;
  if (kb != B || kd != D || G < 1 || H < 1) shape_error("k", Sizes{B, G, Tk, D}, in.k.shape);
  if (H % G != 0) {
    throw Error(
        ErrorCode::kShape,
        fmt::format("[focus] expected heads to be a multiple of key/value heads, found q {} k {}",
                    to_string(in.q.shape),
                    to_string(in.k.shape)));
  }
  const std::int64_t Dv = in.v.shape[3];
  if (in.v.shape != Sizes{B, G, Tk, Dv}) shape_error("v", Sizes{B, G, Tk, Dv}, in.v.shape);
  check_axis("q", in.q.stride[3], D);
  check_axis("k", in.k.stride[3], D);
  check_axis("v", in.v.stride[3], Dv);
  check_data("q", in.q.data, in.q.shape);
  check_data("k", in.k.data, in.k.shape);
  check_data("v", in.v.data, in.v.shape);
  if (out != nullptr) {
    if (out->out.shape != Sizes{B, H, Tq, Dv})
      shape_error("out", Sizes{B, H, Tq, Dv}, out->out.shape);
    check_axis("out", out->out.stride[3], Dv);
    check_data("out", out->out.data, out->out.shape);
    const std::array<std::int64_t, 3> rows{B, H, Tq};
    if (out->lse.data != nullptr && out->lse.shape != rows)
      shape_error("lse", rows, out->lse.shape);
    if (out->lse.data != nullptr) check_axis("lse", out->lse.stride[2], Tq);
  }
  check_options(in.options, B, H, Tq, Tk);
  if (sight != nullptr) check_sight(*sight, H);
}
template void check_focus(const FocusInput&, const FocusOutput*, const Sight*);
template void check_focus(const FocusInputOf<bf16>&, const FocusOutputOf<bf16>*, const Sight*);

std::vector<Sequence> sequences_of(const FocusOptions& o, std::int64_t Tq, std::int64_t Tk) {
  if (o.cu_seqlens_q.data == nullptr) return {{0, Tq, 0, Tk}};
  std::vector<Sequence> all;
  for (std::int64_t n = 0; n + 1 < o.cu_seqlens_q.shape[0]; ++n) {
    const std::int64_t row = o.cu_seqlens_q(n);
    const std::int64_t key = o.cu_seqlens_k(n);
    all.push_back({row, o.cu_seqlens_q(n + 1) - row, key, o.cu_seqlens_k(n + 1) - key});
  }
  return all;
}

template <typename T>
kernels::FocusTask task_of(const FocusInputOf<T>& in,
                           const Sequence& sequence,
                           std::int64_t b,
                           std::int64_t h,
                           std::span<kernels::HeadTask> head) {
  const FocusOptions& o = in.options;
  const std::int64_t g = h / (in.q.shape[1] / in.k.shape[1]);
  kernels::FocusTask t;
  t.number = std::is_same_v<T, bf16> ? kernels::Number::kBF16 : kernels::Number::kF32;
  t.head = head.data();
  t.heads = static_cast<std::int64_t>(head.size());
  t.rows = sequence.rows;
  t.keys = sequence.keys;
  t.row_base = sequence.row;
  t.key_base = sequence.key;
  t.width = in.q.shape[3];
  t.value_width = in.v.shape[3];
  t.k = in.k[b][g].data + sequence.key * in.k.stride[2];
  t.q_stride = in.q.stride[2];
  t.k_stride = in.k.stride[2];
  if (in.v.data != nullptr) {
    t.v = in.v[b][g].data + sequence.key * in.v.stride[2];
    t.v_stride = in.v.stride[2];
  }
  t.row_end = t.rows * t.heads;
  t.key_end = t.keys;
  t.scale = o.scale.value_or(1.0F / std::sqrt(static_cast<float>(t.width)));
  t.causal = o.causal;
  t.window_left = std::min(o.window_left, kFar);
  t.window_right = std::min(o.window_right, kFar);
  t.prefix = std::min(o.prefix, kFar);
  t.softcap = o.softcap;
  if (o.key_mask.data != nullptr) t.key_mask = o.key_mask[b].data + sequence.key;
  if (o.segments.data != nullptr) {
    t.row_segments = o.segments[b].data + sequence.row;
    t.key_segments = o.segments[b].data + sequence.key;
  }
  const bool from_the_end = o.causal || o.window_left >= 0 || o.slopes.data != nullptr;
  t.offset = o.query_offset.value_or(from_the_end ? t.keys - t.rows : 0);
  for (std::size_t n = 0; n < head.size(); ++n) {
    kernels::HeadTask& one = head[n];
    const std::int64_t number = h + static_cast<std::int64_t>(n);
    one = {};
    one.q = in.q[b][number].data + sequence.row * in.q.stride[2];
    if (o.slopes.data != nullptr) one.slope = o.slopes(number);
    if (o.sinks.data != nullptr) one.sink = &o.sinks(number);
    if (o.bias.data == nullptr) continue;
    const auto pick = [&](std::size_t axis, std::int64_t i) {
      return o.bias.shape[axis] == 1 ? 0 : i * o.bias.stride[axis];
    };
    one.bias = o.bias.data + pick(0, b) + pick(1, number) + pick(2, sequence.row) + sequence.key;
    t.bias_row_stride = pick(2, 1);
  }
  return t;
}
template kernels::FocusTask task_of(
    const FocusInput&, const Sequence&, std::int64_t, std::int64_t, std::span<kernels::HeadTask>);
template kernels::FocusTask task_of(const FocusInputOf<bf16>&,
                                    const Sequence&,
                                    std::int64_t,
                                    std::int64_t,
                                    std::span<kernels::HeadTask>);

}  // namespace headscope
