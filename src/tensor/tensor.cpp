#include "headscope/tensor.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "tensor/quants.h"

namespace headscope {

namespace {
struct DTypeRow {
  DType dtype;
  std::size_t bytes;
  std::string_view name;
  std::int64_t numbers = 1;
};

constexpr DTypeRow kDTypes[] = {
    {DType::kF32, 4, "f32"},
    {DType::kBF16, 2, "bf16"},
    {DType::kF16, 2, "f16"},
    {DType::kF64, 8, "f64"},
    {DType::kI64, 8, "i64"},
    {DType::kI32, 4, "i32"},
    {DType::kI16, 2, "i16"},
    {DType::kI8, 1, "i8"},
    {DType::kU64, 8, "u64"},
    {DType::kU32, 4, "u32"},
    {DType::kU16, 2, "u16"},
    {DType::kU8, 1, "u8"},
    {DType::kBool, 1, "bool"},
    {DType::kF8E4M3, 1, "f8_e4m3"},
    {DType::kF8E5M2, 1, "f8_e5m2"},
    {DType::kQ4_0, 18, "q4_0", 32},
    {DType::kQ4_1, 20, "q4_1", 32},
    {DType::kQ5_0, 22, "q5_0", 32},
    {DType::kQ5_1, 24, "q5_1", 32},
    {DType::kQ8_0, 34, "q8_0", 32},
    {DType::kQ2_K, 84, "q2_k", 256},
    {DType::kQ3_K, 110, "q3_k", 256},
    {DType::kQ4_K, 144, "q4_k", 256},
    {DType::kQ5_K, 176, "q5_k", 256},
    {DType::kQ6_K, 210, "q6_k", 256},
    {DType::kIQ1_S, 50, "iq1_s", 256},
    {DType::kIQ1_M, 56, "iq1_m", 256},
    {DType::kIQ2_XXS, 66, "iq2_xxs", 256},
    {DType::kIQ2_XS, 74, "iq2_xs", 256},
    {DType::kIQ2_S, 82, "iq2_s", 256},
    {DType::kIQ3_XXS, 98, "iq3_xxs", 256},
    {DType::kIQ3_S, 110, "iq3_s", 256},
    {DType::kIQ4_NL, 18, "iq4_nl", 32},
    {DType::kIQ4_XS, 136, "iq4_xs", 256},
    {DType::kTQ1_0, 54, "tq1_0", 256},
    {DType::kTQ2_0, 66, "tq2_0", 256},
    {DType::kMXFP4, 17, "mxfp4", 32},
    {DType::kNVFP4, 36, "nvfp4", 64},
};

const DTypeRow& row_of(DType dtype) {
  const auto i = static_cast<std::size_t>(dtype);
  if (i >= std::size(kDTypes)) throw Error(ErrorCode::kDType, "[tensor] unknown dtype");
  return kDTypes[i];
}

template <typename From>
void widen(const std::byte* from, std::span<float> to) {
  const auto* source = reinterpret_cast<const From*>(from);
  for (std::size_t i = 0; i < to.size(); ++i) {
    if constexpr (std::is_same_v<From, bf16> || std::is_same_v<From, f16>) {
      to[i] = to_f32(source[i]);
    } else {
      to[i] = static_cast<float>(source[i]);
    }
  }
}
}  // namespace

Block block_of(DType dtype) { return {row_of(dtype).numbers, row_of(dtype).bytes}; }
bool is_quantised(DType dtype) { return row_of(dtype).numbers > 1; }

std::size_t size_of(DType dtype) {
  const DTypeRow& row = row_of(dtype);
  if (row.numbers > 1) {
    throw Error(ErrorCode::kDType,
                fmt::format("[tensor] expected a dtype of single numbers, found {}", row.name));
  }
  return row.bytes;
}

std::size_t bytes_of(DType dtype, std::int64_t numbers) {
  const DTypeRow& row = row_of(dtype);
  std::size_t bytes = 0;
  if (numbers < 0 || numbers % row.numbers != 0 ||
      __builtin_mul_overflow(static_cast<std::size_t>(numbers / row.numbers), row.bytes, &bytes) ||
      bytes > std::numeric_limits<std::size_t>::max() / 2) {
    throw Error(ErrorCode::kShape,
                fmt::format("[tensor] expected whole blocks of {} {}, found {} numbers",
                            row.numbers,
                            row.name,
                            numbers));
  }
  return bytes;
}

std::string_view name(DType dtype) { return row_of(dtype).name; }

float to_f32(bf16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

bf16 to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16)};
}

float to_f32(f16 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000U) << 16;
  const std::uint32_t exponent = (x.bits >> 10) & 0x1FU;
  const std::uint32_t mantissa = x.bits & 0x3FFU;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent == 0) {  // Zero or subnormal: the mantissa counts units of 2^-24.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

f16 to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return {static_cast<std::uint16_t>(sign | 0x7E00U)};
  if (magnitude >= 0x477FF000U)
    return {static_cast<std::uint16_t>(sign | 0x7C00U)};  // Rounds past 65504.
  if (magnitude < 0x38800000U) {  // Below 2^-14: a multiple of 2^-24, rounded by f32 addition.
    const float scaled = std::bit_cast<float>(magnitude) + 0.5F;
    return {
        static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(scaled) - 0x3F000000U))};
  }
  const std::uint32_t odd = (magnitude >> 13) & 1U;
  return {static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000U + 0xFFFU + odd) >> 13))};
}

std::string to_string(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

std::int64_t count(std::span<const std::int64_t> shape) {
  std::int64_t n = 1;
  for (std::int64_t s : shape) {
    if (s < 0 || __builtin_mul_overflow(n, s, &n)) {
      throw Error(ErrorCode::kShape, "[tensor] impossible shape " + to_string(shape));
    }
  }
  return n;
}

namespace {
// Large tensors ask for huge pages: with pages of 4 kB, walking a long cache misses the table of pages
// more often than the cache. Advice only: without huge pages it is the same memory.
std::byte* allocate(std::size_t align, std::size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr std::size_t kHuge = std::size_t{2} << 20U;
  if (bytes >= 2 * kHuge) {
    void* at = nullptr;
    if (::posix_memalign(&at, kHuge, bytes) != 0) return nullptr;
    ::madvise(at, bytes, MADV_HUGEPAGE);
    return static_cast<std::byte*>(at);
  }
#endif
  return static_cast<std::byte*>(std::aligned_alloc(align, bytes));
}
}  // namespace

void Tensor::Free::operator()(std::byte* p) const { std::free(p); }

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
  constexpr std::size_t kAlign = 64;
  const std::size_t bytes = (bytes_of(dtype, count(shape_)) / kAlign + 1) * kAlign;
  data_.reset(allocate(kAlign, bytes));
  if (data_ == nullptr) {
    throw Error(
        ErrorCode::kResources,
        fmt::format(
            "[tensor] no memory for {} {} ({} bytes)", name(dtype), to_string(shape_), bytes));
  }
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  Tensor t(dtype, std::move(shape));
  std::memset(t.raw(), 0, t.bytes());
  return t;
}

namespace {
void expect_data(const AnyView& source) {
  if (source.data == nullptr && source.size() > 0) {
    throw Error(ErrorCode::kShape,
                "[tensor] expected numbers for " + to_string(source.shape) + ", found none");
  }
}
}  // namespace

Tensor Tensor::copy_of(const AnyView& source) {
  expect_data(source);
  Tensor t(source.dtype, source.shape);
  if (t.bytes() > 0) std::memcpy(t.raw(), source.data, t.bytes());
  return t;
}

Tensor Tensor::f32_from(const AnyView& source) {
  expect_data(source);
  Tensor t(DType::kF32, source.shape);
  const std::span<float> to = t.span<float>();
  switch (source.dtype) {
    case DType::kF32:
      widen<float>(source.data, to);
      break;
    case DType::kBF16:
      widen<bf16>(source.data, to);
      break;
    case DType::kF16:
      widen<f16>(source.data, to);
      break;
    case DType::kF64:
      widen<double>(source.data, to);
      break;
    case DType::kI64:
      widen<std::int64_t>(source.data, to);
      break;
    case DType::kI32:
      widen<std::int32_t>(source.data, to);
      break;
    case DType::kI16:
      widen<std::int16_t>(source.data, to);
      break;
    case DType::kI8:
      widen<std::int8_t>(source.data, to);
      break;
    case DType::kU8:
    case DType::kBool:
      widen<std::uint8_t>(source.data, to);
      break;
    default:
      if (is_quantised(source.dtype)) {
        quants::dequantise(source.dtype, source.data, to);
        break;
      }
      throw Error(
          ErrorCode::kDType,
          fmt::format(
              "[tensor] cannot convert {} {} to f32", name(source.dtype), to_string(source.shape)));
  }
  return t;
}

void Tensor::check(DType wanted, int rank) const {
  detail::check_any(any(), wanted, rank, "tensor");
}

namespace detail {
void check_any(const AnyView& any, DType wanted, int rank, std::string_view who) {
  if (any.dtype != wanted) {
    throw Error(ErrorCode::kDType,
                fmt::format("[{}] expected {}, found {} {}",
                            who,
                            name(wanted),
                            name(any.dtype),
                            to_string(any.shape)));
  }
  if (rank >= 0 && any.shape.size() != static_cast<std::size_t>(rank)) {
    throw Error(ErrorCode::kShape,
                fmt::format("[{}] expected {} axes, found {}", who, rank, to_string(any.shape)));
  }
}
}  // namespace detail

}  // namespace headscope
