// What training does to rows besides products and attention. One source, compiled for every instruction set.
#include <cmath>
#include <cstdint>

#include "kernels/gradients_scalar.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gradients_hwy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/math-inl.h"
#include "kernels/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {
namespace {

// Whole vectors, then the rest through a padded one: body(load, store), where load(p) reads the lanes at p and
// store(v, p) writes them.
template <typename F>
HWY_INLINE void lanes(std::int64_t n, F&& body) {
  const D d;
  const auto count = static_cast<std::size_t>(n);
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    body([&](const float* p) HWY_ATTR { return hn::LoadU(d, p + i); },
         [&](V v, float* p) HWY_ATTR { hn::StoreU(v, d, p + i); });
  }
  if (i == count) return;
  body(
      [&](const float* p) HWY_ATTR {
        HWY_ALIGN float rest[kLanes] = {};
        for (std::size_t m = i; m < count; ++m) rest[m - i] = p[m];
        return hn::Load(d, rest);
      },
      [&](V v, float* p) HWY_ATTR {
        HWY_ALIGN float rest[kLanes];
        hn::Store(v, d, rest);
        for (std::size_t m = i; m < count; ++m) p[m] = rest[m - i];
      });
}

HWY_INLINE V sigmoid(V x) {
  const D d;
  const V one = hn::Set(d, 1.0F);
  return hn::Div(one, hn::Add(one, exp(at_most(hn::Set(d, 87.0F), hn::Neg(x)))));
}

HWY_INLINE V slope(Activation kind, V x) {
  const D d;
  const V half = hn::Set(d, 0.5F);
  const V one = hn::Set(d, 1.0F);
  const V zero = hn::Zero(d);
  switch (kind) {
    case Activation::kGelu: {
      const V share = hn::Mul(half, hn::Add(one, erf(hn::Mul(x, hn::Set(d, 0.70710678F)))));
      const V bell = exp(hn::Mul(hn::Set(d, -0.5F), hn::Mul(x, x)));
      return hn::MulAdd(hn::Mul(x, hn::Set(d, 0.39894228F)), bell, share);
    }
    case Activation::kGeluTanh: {
      const V square = hn::Mul(x, x);
      const V c = hn::Set(d, 0.79788456F);
      const V t = tanh(hn::Mul(c, hn::MulAdd(hn::Mul(hn::Set(d, 0.044715F), square), x, x)));
      const V inner = hn::Mul(c, hn::MulAdd(hn::Set(d, 0.134145F), square, one));
      const V bend = hn::Mul(hn::Mul(x, hn::NegMulAdd(t, t, one)), inner);
      return hn::Mul(half, hn::Add(hn::Add(one, t), bend));
    }
    case Activation::kGeluQuick: {
      const V u = hn::Mul(hn::Set(d, 1.702F), x);
      const V s = sigmoid(u);
      return hn::MulAdd(hn::Mul(u, s), hn::Sub(one, s), s);
    }
    case Activation::kRelu:
      return hn::IfThenElse(hn::Gt(x, zero), one, zero);
    case Activation::kReluSquared:
      return hn::Mul(hn::Set(d, 2.0F), hn::Max(x, zero));
    case Activation::kSilu: {
      const V s = sigmoid(x);
      return hn::MulAdd(hn::Mul(x, s), hn::Sub(one, s), s);
    }
    case Activation::kTanh: {
      const V t = tanh(x);
      return hn::NegMulAdd(t, t, one);
    }
  }
  return one;
}

void activate_back(
    Activation kind, const float* x, const float* dy, std::int64_t n, float* dx) noexcept {
  lanes(n, [&](auto load, auto store) HWY_ATTR {
    store(hn::Mul(load(dy), slope(kind, load(x))), dx);
  });
}

void gate_back(Activation kind,
               const float* gate,
               const float* up,
               const float* dy,
               std::int64_t n,
               float* dgate,
               float* dup) noexcept {
  lanes(n, [&](auto load, auto store) HWY_ATTR {
    const V g = load(gate);
    const V d = load(dy);
    const V u = load(up);
    store(hn::Mul(hn::Mul(d, u), slope(kind, g)), dgate);
    store(hn::Mul(d, apply(kind, g)), dup);
  });
}

HWY_INLINE float total(V x) { return hn::GetLane(hn::SumOfLanes(D(), x)); }

void norm_back(const NormBackTask& t) noexcept {
  const D d;
  const auto n = static_cast<float>(t.n);
  V sum = hn::Zero(d);
  if (t.centred) lanes(t.n, [&](auto load, auto) HWY_ATTR { sum = hn::Add(sum, load(t.x)); });
  const float middle = total(sum) / n;
  const V mean = hn::Set(d, middle);
  V squares = hn::Zero(d);
  lanes(t.n, [&](auto load, auto) HWY_ATTR {
    const V z = hn::Sub(load(t.x), mean);
    squares = hn::MulAdd(z, z, squares);
  });
  // Lanes beyond the row have held x = 0.
  const std::int64_t step = kLanes;
  const auto beyond = static_cast<float>((step - t.n % step) % step);
  const float var = (total(squares) - beyond * middle * middle) / n;
  const V scale = hn::Set(d, 1.0F / std::sqrt(var + t.eps));
  V direct = hn::Zero(d);
  V along = hn::Zero(d);
  lanes(t.n, [&](auto load, auto) HWY_ATTR {
    const V z = hn::Mul(hn::Sub(load(t.x), mean), scale);
    const V dy = load(t.dy);  // 0 beyond the row
    const V g = t.weight == nullptr ? dy : hn::Mul(dy, load(t.weight));
    direct = hn::Add(direct, g);
    along = hn::MulAdd(g, z, along);
  });
  const V shift = hn::Set(d, t.centred ? total(direct) / n : 0.0F);
  const V pull = hn::Set(d, total(along) / n);
  lanes(t.n, [&](auto load, auto store) HWY_ATTR {
    const V z = hn::Mul(hn::Sub(load(t.x), mean), scale);
    const V dy = load(t.dy);
    const V g = t.weight == nullptr ? dy : hn::Mul(dy, load(t.weight));
    const V dx = hn::Mul(scale, hn::NegMulAdd(z, pull, hn::Sub(g, shift)));
    if (t.dweight != nullptr) store(hn::MulAdd(dy, z, load(t.dweight)), t.dweight);
    if (t.dbias != nullptr) store(hn::Add(dy, load(t.dbias)), t.dbias);
    store(t.add ? hn::Add(dx, load(t.dx)) : dx, t.dx);
  });
}

CrossEntropyRow cross_entropy(const CrossEntropyTask& t) noexcept {
  const D d;
  const auto count = static_cast<std::size_t>(t.n);
  CrossEntropyRow row;
  V most = hn::Set(d, t.logits[0]);
  V all = hn::Zero(d);
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const V x = hn::LoadU(d, t.logits + i);
    most = hn::Max(most, x);
    all = hn::Add(all, x);
  }
  float highest = hn::GetLane(hn::MaxOfLanes(d, most));
  double sum_of_logits = static_cast<double>(total(all));
  for (; i < count; ++i) {
    highest = t.logits[i] > highest ? t.logits[i] : highest;
    sum_of_logits += static_cast<double>(t.logits[i]);
  }
  while (row.likeliest + 1 < t.n && !(t.logits[row.likeliest] == highest)) ++row.likeliest;
  const float at_label = t.logits[t.label];
  // Weights stay where the logits were.
  const V top = hn::Set(d, highest);
  V weights = hn::Zero(d);
  double rest = 0.0;
  const std::size_t whole = count - count % kLanes;
  for (i = 0; i < whole; i += kLanes) {
    const V w = exp(hn::Sub(hn::LoadU(d, t.logits + i), top));
    weights = hn::Add(weights, w);
    if (t.scale != 0.0F) hn::StoreU(w, d, t.logits + i);
  }
  for (; i < count; ++i) {
    const float w = std::exp(t.logits[i] - highest);
    rest += static_cast<double>(w);
    if (t.scale != 0.0F) t.logits[i] = w;
  }
  const double sum = static_cast<double>(total(weights)) + rest;
  const auto s = static_cast<double>(t.smoothing);
  const auto classes = static_cast<double>(t.n);
  row.nats = static_cast<double>(highest) + std::log(sum) -
             (1.0 - s) * static_cast<double>(at_label) - s * sum_of_logits / classes;
  if (t.scale == 0.0F) return row;
  const auto scale = static_cast<double>(t.scale);
  const V by = hn::Set(d, static_cast<float>(scale / sum));
  const V less = hn::Set(d, static_cast<float>(scale * s / classes));
  lanes(t.n, [&](auto load, auto store) HWY_ATTR {
    store(hn::MulSub(load(t.logits), by, less), t.logits);
  });
  t.logits[t.label] -= static_cast<float>(scale * (1.0 - s));
  return row;
}

void drop(const DropTask& t) noexcept {
  const D d;
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto low = hn::Set(du, static_cast<std::uint32_t>(t.key));
  const auto high = hn::Set(du, static_cast<std::uint32_t>(t.key >> 32));
  const auto below = hn::Set(di, static_cast<std::int32_t>(t.threshold));
  const V scale = hn::Set(d, t.scale);
  auto number = hn::Iota(du, 0);
  lanes(t.n, [&](auto load, auto store) HWY_ATTR {
    auto h = hn::Xor(hn::Mul(number, hn::Set(du, 0x9E3779B9U)), low);
    h = hn::Xor(hn::Mul(hn::Xor(h, hn::ShiftRight<16>(h)), hn::Set(du, 0x85EBCA6BU)), high);
    h = hn::Mul(hn::Xor(h, hn::ShiftRight<13>(h)), hn::Set(du, 0xC2B2AE35U));
    h = hn::ShiftRight<8>(hn::Xor(h, hn::ShiftRight<16>(h)));
    const auto gone = hn::RebindMask(d, hn::Lt(hn::BitCast(di, h), below));
    store(hn::IfThenZeroElse(gone, hn::Mul(load(t.x), scale)), t.y);
    number = hn::Add(number, hn::Set(du, static_cast<std::uint32_t>(kLanes)));
  });
}

void add(const float* x, std::int64_t n, float* y) noexcept {
  lanes(n, [&](auto load, auto store) HWY_ATTR { store(hn::Add(load(x), load(y)), y); });
}

void adamw(const AdamWTask& t) noexcept {
  const D d;
  const auto set = [&](float x) HWY_ATTR { return hn::Set(d, x); };
  const V scale = set(t.gradient_scale);
  const V b1 = set(t.beta1);
  const V b2 = set(t.beta2);
  const V c1 = set(1.0F - t.beta1);
  const V c2 = set(1.0F - t.beta2);
  const V rate = set(t.rate);
  const V root = set(t.root);
  const V eps = set(t.eps);
  const V keep = set(t.keep);
  lanes(t.n, [&](auto load, auto store) HWY_ATTR {
    const V g = hn::Mul(load(t.gradient), scale);
    const V m = hn::MulAdd(b1, load(t.first), hn::Mul(c1, g));
    const V v = hn::MulAdd(b2, load(t.second), hn::Mul(c2, hn::Mul(g, g)));
    const V step = hn::Div(hn::Mul(rate, m), hn::MulAdd(hn::Sqrt(v), root, eps));
    store(hn::MulSub(load(t.value), keep, step), t.value);
    store(m, t.first);
    store(v, t.second);
    store(hn::Zero(d), t.gradient);
  });
}

// Squares of f32 in f32, sums of 64 numbers a lane in double.
double sum_of_squares(const float* x, std::int64_t n) noexcept {
  const D d;
  double sum = 0.0;
  constexpr std::int64_t kBlock = 16 * static_cast<std::int64_t>(kLanes);
  for (std::int64_t first = 0; first < n; first += kBlock) {
    V squares = hn::Zero(d);
    const float* from = x + first;
    lanes(n - first < kBlock ? n - first : kBlock, [&](auto load, auto) HWY_ATTR {
      const V z = load(from);
      squares = hn::MulAdd(z, z, squares);
    });
    sum += static_cast<double>(total(squares));
  }
  return sum;
}

GradientBodies gradients_here() {
  return {activate_back, gate_back, norm_back, cross_entropy, drop, add, adamw, sum_of_squares};
}

}  // namespace
}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

HWY_EXPORT(gradients_here);

GradientBodies gradient_bodies(std::string_view table) {
  if (table == "scalar") return scalar_gradients();
  if (table == "portable") return HWY_STATIC_DISPATCH(gradients_here)();
#if HWY_TARGETS & HWY_SSE4
  if (table == "sse4") return N_SSE4::gradients_here();
#endif
#if HWY_TARGETS & HWY_AVX2
  if (table == "avx2") return N_AVX2::gradients_here();
#endif
#if HWY_TARGETS & HWY_AVX3
  if (table == "avx512") return N_AVX3::gradients_here();
#endif
  return HWY_DYNAMIC_DISPATCH(gradients_here)();
}

}  // namespace headscope::kernels
#endif
