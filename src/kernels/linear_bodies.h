#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "headscope/tensor.h"

namespace headscope::kernels {

/// Numbers of x that share a factor once they are rounded to int8.
inline constexpr std::int64_t kInt8Block = 32;

/// M rows of x rounded to whole numbers from -127 to 127.
struct Int8Rows {
  const std::int8_t* q = nullptr;        ///< [M,K]
  const float* scale = nullptr;          ///< [M,K/32]: x is about scale * q
  const float* sum = nullptr;            ///< [M,K/32]: scale * (sum of q)
  const std::int32_t* halves = nullptr;  ///< [M,K/16]: sum of q of 16 numbers
};

/// y[m,n] = sum_k x[m,k] w[n,k] + bias[n] for some rows n of w, read from a file's blocks.
struct Int8Task {
  DType dtype = DType::kQ8_0;
  const std::byte* weight = nullptr;  ///< the first row of w
  std::size_t row_bytes = 0;          ///< from one row of w to the next
  std::int64_t N = 0;                 ///< rows of w
  std::int64_t M = 0;
  std::int64_t K = 0;
  Int8Rows x;
  float* y = nullptr;  ///< [M,N]
  std::int64_t y_stride = 0;
  const float* bias = nullptr;   ///< [N] or nullptr
  std::byte* scratch = nullptr;  ///< panel_bytes(dtype, K), 64-byte aligned, for `panels`
};

/// The same product of f32 rows.
struct DotTask {
  const float* weight = nullptr;
  std::int64_t weight_stride = 0;
  std::int64_t N = 0;
  std::int64_t M = 0;
  std::int64_t K = 0;
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
  const float* bias = nullptr;
};

/// How one instruction set multiplies weights as files store them. Serial and noexcept.
///
/// The int8 product has one order of arithmetic, whatever the body: the products of a block of 32
/// (16 for q6_k) are summed as whole numbers, which is exact; then, blocks in ascending order,
///   y = fma(float(total) * x.scale, w.scale, y), y = fma(x.sum, w.least, y)
/// with the bias added last. So `rows` and `panels` of every instruction set with FMA agree to the bit.
/// `dots` sums each y over k in ascending order in vector lanes, then across lanes: M and N change no
/// bit, the width of vectors does.
struct LinearBodies {
  std::string_view name;  ///< "avx2", "avx512vnni", ...
  /// One row of x: K is a multiple of 32. A block with NaN or infinity gets the factor NaN.
  void (*round)(const float* x,
                std::int64_t K,
                std::int8_t* q,
                float* scale,
                float* sum,
                std::int32_t* halves) noexcept;
  /// Reads each block once for all rows of x; for few rows.
  void (*rows)(const Int8Task& task) noexcept;
  /// Lays out `panel_rows` rows of w at a time for all rows of x; for many rows.
  void (*panels)(const Int8Task& task) noexcept;
  std::int64_t panel_rows = 1;
  std::size_t (*panel_bytes)(DType dtype, std::int64_t K) = nullptr;

  /// f16 or bf16 numbers as f32.
  void (*widen)(DType dtype, const std::byte* from, std::int64_t n, float* to) noexcept;
  void (*dots)(const DotTask& task) noexcept;
};

/// The bodies of one instruction set; nullptr for forms that it lacks.
struct LinearForms {
  const LinearBodies* usual;
  const LinearBodies* native_quads;  ///< made of int8 dot products of four numbers a lane
  const LinearBodies* model_quads;   ///< the same in plain vectors, for tests
};

/// Whether `rows` and `panels` take blocks of this dtype: q4_0, q4_1, q8_0, q4_k, q6_k.
bool has_int8(DType dtype);

/// The bodies that go with the table of that name; "scalar" is plain C++. A table without bodies of
/// its own here gets the best that this machine runs.
const LinearBodies& linear_bodies(std::string_view table);

/// Int8 dot products of four numbers a lane, as instructions of this machine.
bool has_avx512_vnni();
bool has_avx_vnni();

namespace plain {

/// A block of 32 numbers as whole numbers and factors: w = scale * q + least; numbers 16 to 31 have a
/// scale of their own in q6_k.
struct Block32 {
  std::int8_t q[32];
  float scale[2];
  float least;
};
/// Block b of a row. `dtype` is one of has_int8.
Block32 read(DType dtype, const std::byte* row, std::int64_t b) noexcept;

void round(const float* x,
           std::int64_t K,
           std::int8_t* q,
           float* scale,
           float* sum,
           std::int32_t* halves) noexcept;
void multiply(const Int8Task& task) noexcept;
std::size_t no_bytes(DType dtype, std::int64_t K);
void widen(DType dtype, const std::byte* from, std::int64_t n, float* to) noexcept;
/// In double.
void dots(const DotTask& task) noexcept;

}  // namespace plain

}  // namespace headscope::kernels
