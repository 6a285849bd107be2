#include "cli/bench_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "headscope/error.h"
#include "headscope/threads.h"

namespace headscope::cli {

namespace {
constexpr std::int64_t kWindow = 256;

// Source: Steele, Lea & Flood 2014 (SplitMix64).
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

// Four uniform numbers of 16 bits: close enough to a normal one, and quick.
float nearly_normal(std::uint64_t bits) {
  const std::uint64_t sum =
      (bits & 0xFFFFU) + ((bits >> 16U) & 0xFFFFU) + ((bits >> 32U) & 0xFFFFU) + (bits >> 48U);
  return (static_cast<float>(sum) / 65536.0F - 2.0F) * std::sqrt(3.0F);
}

template <typename T>
void fill_noise(std::span<T> numbers, std::uint64_t seed) {
  constexpr std::size_t kPart = std::size_t{1} << 16U;
  const std::size_t parts = (numbers.size() + kPart - 1) / kPart;
  parallel_for(static_cast<std::int64_t>(parts), [&](std::int64_t part) {
    const std::size_t begin = static_cast<std::size_t>(part) * kPart;
    const std::size_t end = std::min(numbers.size(), begin + kPart);
    for (std::size_t i = begin; i < end; ++i) {
      const float x = nearly_normal(mixed((seed << 40U) + i));
      if constexpr (std::is_same_v<T, float>)
        numbers[i] = x;
      else
        numbers[i] = to_bf16(x);
    }
  });
}

Sight sight_of(std::string_view word) {
  if (word == "everything") return Sight::everything();
  if (word == "none" || word == "stats") return {};
  if (word != "maps") {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("[bench] expected a sight of none, stats, maps, everything, found {}", word));
  }
  Sight sight = Sight::everything();
  sight.keep_qk = false;
  return sight;
}
}  // namespace

std::string FocusShape::name() const {
  std::string tokens = std::to_string(keys);
  if (rows != keys) tokens = fmt::format("{}:{}", rows, keys);
  const std::string by =
      groups == heads ? std::to_string(heads) : fmt::format("{}/{}", heads, groups);
  std::string out = fmt::format("{} {}x{}x{}", headscope::name(dtype), by, tokens, width);
  if (options != "plain") out += fmt::format(" {}", options);
  if (sight != "none") out += fmt::format(" {}", sight);
  return out;
}

Tensor noise(DType dtype, Shape shape, std::uint64_t seed) {
  Tensor out(dtype, std::move(shape));
  if (dtype == DType::kF32)
    fill_noise(out.span<float>(), seed);
  else
    fill_noise(out.span<bf16>(), seed);
  return out;
}

FocusCase::FocusCase(const FocusShape& shape)
    : shape_(shape),
      q_(noise(shape.dtype, {1, shape.heads, shape.rows, shape.width}, 1)),
      k_(noise(shape.dtype, {1, shape.groups, shape.keys, shape.width}, 2)),
      v_(noise(shape.dtype, {1, shape.groups, shape.keys, shape.width}, 3)),
      out_(shape.dtype, {1, shape.heads, shape.rows, shape.width}),
      sight_(sight_of(shape.sight)) {
  const std::string_view word = shape.options;
  if (word == "causal" || word == "window") options_.causal = true;
  if (word == "window") options_.window_left = kWindow - 1;
  if (word == "softcap") options_.softcap = 30.0F;
  if (word == "alibi") {
    slopes_ = Tensor(DType::kF32, {shape.heads});
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      slopes_.span<float>()[static_cast<std::size_t>(h)] =
          std::exp2(-8.0F * static_cast<float>(h + 1) / static_cast<float>(shape.heads));
    }
    options_.slopes = slopes_.view<float, 1>();
  } else if (word == "bias") {
    bias_ = noise(DType::kF32, {1, shape.heads, shape.rows, shape.keys}, 4);
    options_.bias = bias_.view<float, 4>();
  } else if (word == "padding") {
    mask_ = Tensor::zeros(DType::kU8, {1, shape.keys});
    std::fill_n(mask_.span<std::uint8_t>().begin(), shape.keys - shape.keys / 8, std::uint8_t{1});
    options_.key_mask = mask_.view<std::uint8_t, 2>();
  } else if (std::find(std::begin(kFocusOptions), std::end(kFocusOptions), word) ==
             std::end(kFocusOptions)) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format(
            "[bench] expected options of {}, found {}", fmt::join(kFocusOptions, ", "), word));
  }
}

template <typename T>
FocusInputOf<T> FocusCase::input() const {
  return {q_.view<T, 4>(), k_.view<T, 4>(), v_.view<T, 4>(), options_};
}

template <typename T>
void FocusCase::run_as() {
  const FocusOutputOf<T> out{out_.view<T, 4>(),
                             lse_.empty() ? View<float, 3>{} : lse_.view<float, 3>()};
  record_ = {};
  const bool look = shape_.sight != "none";
  focus(input<T>(), out, look ? &sight_ : nullptr, look ? &record_ : nullptr);
}

template <typename T>
void FocusCase::run_backward_as() {
  FocusGradientInputOf<T> in;
  in.forward = input<T>();
  in.out = out_.view<T, 4>();
  in.lse = lse_.view<float, 3>();
  in.dout = dout_.view<T, 4>();
  focus_backward(in,
                 FocusGradientOf<T>{dq_.view<T, 4>(), dk_.view<T, 4>(), dv_.view<T, 4>(), {}, {}});
}

void FocusCase::prepare_backward() {
  lse_ = Tensor(DType::kF32, {1, shape_.heads, shape_.rows});
  dout_ = noise(shape_.dtype, out_.shape(), 5);
  dq_ = Tensor(shape_.dtype, q_.shape());
  dk_ = Tensor(shape_.dtype, k_.shape());
  dv_ = Tensor(shape_.dtype, v_.shape());
  run();
}

void FocusCase::run_backward() {
  if (shape_.dtype == DType::kF32)
    run_backward_as<float>();
  else
    run_backward_as<bf16>();
}

void FocusCase::run() {
  if (shape_.dtype == DType::kF32)
    run_as<float>();
  else
    run_as<bf16>();
}

double FocusCase::flop() const {
  const std::int64_t keys =
      shape_.options == "padding" ? shape_.keys - shape_.keys / 8 : shape_.keys;
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < shape_.rows; ++i) {
    const std::int64_t position = i + shape_.keys - shape_.rows;
    const std::int64_t end = options_.causal ? position + 1 : keys;
    pairs += shape_.options == "window" ? std::min(end, kWindow) : end;
  }
  return 4.0 * static_cast<double>(pairs) * static_cast<double>(shape_.heads * shape_.width);
}

double FocusCase::cache_bytes() const { return static_cast<double>(k_.bytes() + v_.bytes()); }

}  // namespace headscope::cli
