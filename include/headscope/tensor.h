#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "headscope/error.h"

namespace headscope {

/// Element types of tensors and of the files they come from.
/// Computation happens in f32 (and bf16 products); the others are storage.
enum class DType : std::uint8_t {
  kF32,
  kBF16,
  kF16,
  kF64,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
  kF8E4M3,
  kF8E5M2,
  // Blocks of numbers as GGUF files store them: storage only, read by the rows of a matrix.
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ1_S,
  kIQ1_M,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ2_S,
  kIQ3_XXS,
  kIQ3_S,
  kIQ4_NL,
  kIQ4_XS,
  kTQ1_0,
  kTQ2_0,
  kMXFP4,
  kNVFP4
};

/// The least that a dtype stores at once: one number, or a block of them with its factors.
struct Block {
  std::int64_t numbers = 1;
  std::size_t bytes = 0;
};
Block block_of(DType dtype);
/// Whether numbers come in blocks of more than one.
bool is_quantised(DType dtype);
/// Bytes of one element. Errors: kDType for a quantised dtype, whose elements have no bytes of their own.
std::size_t size_of(DType dtype);
/// Bytes of `numbers` elements. Errors: kShape past 2^63 and for a part of a block.
std::size_t bytes_of(DType dtype, std::int64_t numbers);
/// Lower-case name: "f32", "bf16", ...
std::string_view name(DType dtype);

/// bfloat16: the upper half of an f32. Storage only; convert with to_f32 / to_bf16.
struct bf16 {
  std::uint16_t bits;
};
/// IEEE half precision. Storage only; convert with to_f32 / to_f16.
struct f16 {
  std::uint16_t bits;
};

float to_f32(bf16 x);
float to_f32(f16 x);
/// Rounds to nearest, ties to even; NaN stays NaN.
bf16 to_bf16(float x);
f16 to_f16(float x);

template <typename T>
inline constexpr DType kDTypeOf = [] {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, float>)
    return DType::kF32;
  else if constexpr (std::is_same_v<U, bf16>)
    return DType::kBF16;
  else if constexpr (std::is_same_v<U, f16>)
    return DType::kF16;
  else if constexpr (std::is_same_v<U, double>)
    return DType::kF64;
  else if constexpr (std::is_same_v<U, std::int64_t>)
    return DType::kI64;
  else if constexpr (std::is_same_v<U, std::int32_t>)
    return DType::kI32;
  else if constexpr (std::is_same_v<U, std::int16_t>)
    return DType::kI16;
  else if constexpr (std::is_same_v<U, std::int8_t>)
    return DType::kI8;
  else if constexpr (std::is_same_v<U, std::uint64_t>)
    return DType::kU64;
  else if constexpr (std::is_same_v<U, std::uint32_t>)
    return DType::kU32;
  else if constexpr (std::is_same_v<U, std::uint16_t>)
    return DType::kU16;
  else if constexpr (std::is_same_v<U, bool>)
    return DType::kBool;
  else {
    static_assert(std::is_same_v<U, std::uint8_t>, "headscope has no dtype for this type");
    return DType::kU8;
  }
}();

/// Sizes of the axes, outermost first.
using Shape = std::vector<std::int64_t>;

/// "[2,12,64]"
std::string to_string(std::span<const std::int64_t> shape);

/// Number of elements. Errors: kShape for a negative axis or a product past 2^63.
std::int64_t count(std::span<const std::int64_t> shape);

/// A borrowed, strided window on numbers that somebody else owns. Copies freely, never frees.
/// Strides are in elements. `split` and `merge` of attention are Views: no number moves.
template <typename T, int N>
struct View {
  T* data = nullptr;
  std::array<std::int64_t, N> shape{};
  std::array<std::int64_t, N> stride{};

  View() = default;
  View(T* d, std::array<std::int64_t, N> sizes, std::array<std::int64_t, N> strides)
      : data(d), shape(sizes), stride(strides) {}
  /// Contiguous, last axis fastest.
  View(T* d, std::array<std::int64_t, N> sizes) : data(d), shape(sizes) {
    std::int64_t step = 1;
    for (std::size_t i = N; i-- > 0;) {
      stride[i] = step;
      step *= sizes[i];
    }
  }
  /// View of mutable numbers converts to View of constant ones.
  template <typename U>
  requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>) View(const View<U, N>& other)
      : data(other.data), shape(other.shape), stride(other.stride) {}

  template <typename... I>
  requires(sizeof...(I) == N) T& operator()(I... index) const {
    const std::array<std::int64_t, N> at{static_cast<std::int64_t>(index)...};
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < N; ++i) offset += at[i] * stride[i];
    return data[offset];
  }

  /// The sub-view at `index` of the first axis.
  View<T, N - 1> operator[](std::int64_t index) const requires(N > 1) {
    View<T, N - 1> out;
    out.data = data + index * stride[0];
    for (std::size_t i = 1; i < N; ++i) {
      out.shape[i - 1] = shape[i];
      out.stride[i - 1] = stride[i];
    }
    return out;
  }

  [[nodiscard]] std::int64_t size() const {
    std::int64_t n = 1;
    for (std::int64_t s : shape) n *= s;
    return n;
  }
  [[nodiscard]] bool contiguous() const { return stride == View(data, shape).stride; }
};

/// A borrowed contiguous tensor whose dtype and rank are known at run time: how files hand out
/// weights.
struct AnyView {
  DType dtype = DType::kF32;
  Shape shape;
  const std::byte* data = nullptr;

  [[nodiscard]] std::int64_t size() const { return count(shape); }
  [[nodiscard]] std::size_t bytes() const { return bytes_of(dtype, size()); }

  /// Typed view. Errors: kDType or kShape when T or N is not what is stored.
  template <typename T, int N>
  [[nodiscard]] View<const T, N> view(std::string_view who = "tensor") const;
};

/// Owns contiguous numbers, 64-byte aligned. Moves, never copies by accident: say clone().
class Tensor {
 public:
  Tensor() = default;
  /// Numbers are left unset. Errors: kResources when memory runs out, kShape.
  Tensor(DType dtype, Shape shape);
  /// All zero.
  static Tensor zeros(DType dtype, Shape shape);
  /// A copy of borrowed numbers, converted to f32 (from f32, bf16, f16, f64, integers, blocks).
  static Tensor f32_from(const AnyView& source);
  /// A copy of borrowed numbers in their own dtype.
  static Tensor copy_of(const AnyView& source);

  Tensor(Tensor&& other) noexcept { *this = std::move(other); }
  Tensor& operator=(Tensor&& other) noexcept {
    if (this == &other) return *this;
    dtype_ = other.dtype_;
    shape_ = std::move(other.shape_);
    data_ = std::move(other.data_);
    other.shape_.clear();
    return *this;
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  ~Tensor() = default;

  [[nodiscard]] Tensor clone() const { return empty() ? Tensor() : copy_of(any()); }

  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] std::int64_t dim(std::size_t axis) const { return shape_.at(axis); }
  [[nodiscard]] std::int64_t size() const { return empty() ? 0 : count(shape_); }
  [[nodiscard]] std::size_t bytes() const { return bytes_of(dtype_, size()); }
  /// True for a default-constructed or moved-from tensor (a tensor with a zero axis is not
  /// "empty").
  [[nodiscard]] bool empty() const { return data_ == nullptr; }

  [[nodiscard]] std::byte* raw() { return data_.get(); }
  [[nodiscard]] const std::byte* raw() const { return data_.get(); }
  [[nodiscard]] AnyView any() const { return {dtype_, shape_, data_.get()}; }

  /// Errors: kDType when T is not the element type.
  template <typename T>
  [[nodiscard]] std::span<T> span() {
    check(kDTypeOf<T>);
    return {reinterpret_cast<T*>(data_.get()), static_cast<std::size_t>(size())};
  }
  template <typename T>
  [[nodiscard]] std::span<const T> span() const {
    check(kDTypeOf<T>);
    return {reinterpret_cast<const T*>(data_.get()), static_cast<std::size_t>(size())};
  }
  /// Errors: kDType, kShape when T or N is not what is stored.
  template <typename T, int N>
  [[nodiscard]] View<T, N> view() {
    check(kDTypeOf<T>, N);
    std::array<std::int64_t, N> sizes{};
    for (std::size_t i = 0; i < N; ++i) sizes[i] = shape_[i];
    return View<T, N>(reinterpret_cast<T*>(data_.get()), sizes);
  }
  template <typename T, int N>
  [[nodiscard]] View<const T, N> view() const {
    return any().view<T, N>();
  }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  void check(DType wanted, int rank = -1) const;

  DType dtype_ = DType::kF32;
  Shape shape_;
  std::unique_ptr<std::byte, Free> data_;
};

namespace detail {
void check_any(const AnyView& any, DType wanted, int rank, std::string_view who);
}

template <typename T, int N>
View<const T, N> AnyView::view(std::string_view who) const {
  detail::check_any(*this, kDTypeOf<T>, N, who);
  std::array<std::int64_t, N> sizes{};
  for (std::size_t i = 0; i < N; ++i) sizes[i] = shape[i];
  return View<const T, N>(reinterpret_cast<const T*>(data), sizes);
}

}  // namespace headscope
