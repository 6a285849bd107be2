#include "headscope/tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace headscope {
namespace {

TEST(Half, EveryF16SurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const f16 x{static_cast<std::uint16_t>(bits)};
    const float wide = to_f32(x);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_f32(to_f16(wide))));
    } else {
      ASSERT_EQ(to_f16(wide).bits, x.bits) << bits;
    }
  }
}

#ifdef __FLT16_MAX__  // clang 14 has no _Float16 on x86
// The compiler's own _Float16 is the independent implementation.
TEST(Half, RoundsAsTheCompilerDoes) {
  for (std::uint64_t bits = 0; bits < 0x100000000ULL; bits += 9973) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isnan(x)) continue;
    const auto expected = std::bit_cast<std::uint16_t>(static_cast<_Float16>(x));
    ASSERT_EQ(to_f16(x).bits, expected) << x;
  }
}
#endif

TEST(Half, EveryBf16SurvivesAndTiesGoToEven) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bf16 x{static_cast<std::uint16_t>(bits)};
    const float wide = to_f32(x);
    if (std::isnan(wide)) continue;
    ASSERT_EQ(to_bf16(wide).bits, x.bits);
  }
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808000U)).bits, 0x3F80);  // halfway, even below
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F818000U)).bits, 0x3F82);  // halfway, even above
  EXPECT_TRUE(std::isnan(to_f32(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7F80);
}

TEST(Tensor, IsAlignedAndZeroWhenAsked) {
  const Tensor t = Tensor::zeros(DType::kF32, {3, 5});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.raw()) % 64, 0U);
  EXPECT_EQ(t.size(), 15);
  for (float x : t.span<float>()) EXPECT_EQ(x, 0.0F);
}

TEST(Tensor, MovingLeavesAnEmptyOne) {
  Tensor a = Tensor::zeros(DType::kI32, {2});
  const Tensor b = std::move(a);
  EXPECT_TRUE(a.empty());  // NOLINT: what a moved-from tensor promises
  EXPECT_EQ(a.size(), 0);
  EXPECT_EQ(b.size(), 2);
}

TEST(Tensor, AZeroAxisIsNotEmpty) {
  const Tensor t(DType::kF32, {0, 4});
  EXPECT_FALSE(t.empty());
  EXPECT_EQ(t.size(), 0);
}

TEST(Tensor, ImpossibleShapesAreRefusedBeforeMemoryIsAsked) {
  EXPECT_THROW(Tensor(DType::kF32, {-1}), Error);
  EXPECT_THROW(Tensor(DType::kF32, {std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
  EXPECT_THROW(Tensor(DType::kF64, {std::int64_t{1} << 61}), Error);
}

TEST(Tensor, WrongTypeOrRankIsNamed) {
  const Tensor t = Tensor::zeros(DType::kF32, {2, 3});
  try {
    (void)t.view<std::int32_t, 2>();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kDType);
    EXPECT_STREQ(e.what(), "[tensor] expected i32, found f32 [2,3]");
  }
  EXPECT_THROW((void)(t.view<float, 3>()), Error);
}

TEST(View, StridesAddressTheRightNumbers) {
  Tensor t(DType::kF32, {2, 3, 4});
  for (std::size_t i = 0; i < 24; ++i) t.span<float>()[i] = static_cast<float>(i);
  const auto v = t.view<float, 3>();
  EXPECT_EQ(v(1, 2, 3), 23.0F);
  EXPECT_EQ(v[1](2, 3), 23.0F);
  const View<const float, 2> turned(v.data, {4, 3}, {1, 4});
  EXPECT_EQ(turned(3, 2), 11.0F);
  EXPECT_FALSE(turned.contiguous());
  EXPECT_TRUE(v.contiguous());
}

TEST(Tensor, WidensEveryNumberType) {
  Tensor t(DType::kI64, {2});
  t.span<std::int64_t>()[0] = -7;
  t.span<std::int64_t>()[1] = 1 << 20;
  const Tensor f = Tensor::f32_from(t.any());
  EXPECT_EQ(f.span<float>()[0], -7.0F);
  EXPECT_EQ(f.span<float>()[1], 1048576.0F);
  const Tensor odd = Tensor::zeros(DType::kF8E4M3, {1});
  EXPECT_THROW(Tensor::f32_from(odd.any()), Error);
}

TEST(Tensor, CopiesOfNothingAreNothingOrAnError) {
  EXPECT_TRUE(Tensor().clone().empty());
  EXPECT_THROW(Tensor::copy_of({DType::kF32, {3}, nullptr}), Error);
  EXPECT_THROW(Tensor::f32_from({DType::kF16, {3}, nullptr}), Error);
}

}  // namespace
}  // namespace headscope
