#include "tensor/quants.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace headscope {
namespace {

constexpr DType kWritable[] = {DType::kF32,
                               DType::kF16,
                               DType::kBF16,
                               DType::kQ8_0,
                               DType::kQ4_0,
                               DType::kQ4_1,
                               DType::kQ5_0,
                               DType::kQ5_1,
                               DType::kMXFP4,
                               DType::kTQ1_0,
                               DType::kTQ2_0};

std::vector<float> there_and_back(DType dtype, const std::vector<float>& x) {
  std::vector<std::byte> blocks(bytes_of(dtype, static_cast<std::int64_t>(x.size())));
  quants::quantise(dtype, x, blocks.data());
  const Tensor back =
      Tensor::f32_from({dtype, {static_cast<std::int64_t>(x.size())}, blocks.data()});
  return {back.span<float>().begin(), back.span<float>().end()};
}

/// Half a step of each type, as a share of the largest magnitude of a block.
double half_step(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 0.0;
    case DType::kF16:
      return 0x1p-11;
    case DType::kBF16:
      return 0x1p-8;
    case DType::kQ8_0:
      return 0.5 / 127 + 0x1p-10;
    case DType::kQ4_0:  // the end opposite to the farthest number is a whole step short
      return 1.0 / 8 + 0x1p-9;
    case DType::kQ4_1:
      return 0.5 * 2 / 15 + 0x1p-9;
    case DType::kQ5_0:
      return 1.0 / 16 + 0x1p-9;
    case DType::kQ5_1:
      return 0.5 * 2 / 31 + 0x1p-9;
    case DType::kMXFP4:  // up to 8 times the scale, of which 6 is the largest code
      return 2.0 / 8 + 1e-6;
    default:
      return 0.5 + 0x1p-10;
  }
}

TEST(Quants, RoundingIsOffByAtMostHalfAStep) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  for (const DType dtype : kWritable) {
    SCOPED_TRACE(name(dtype));
    const auto block =
        static_cast<std::size_t>(std::max<std::int64_t>(block_of(dtype).numbers, 32));
    for (const float size : {1e-3F, 1.0F, 1e3F}) {
      std::vector<float> x(8 * block);
      for (float& v : x) v = size * normal(random);
      const std::vector<float> back = there_and_back(dtype, x);
      for (std::size_t b = 0; b < x.size(); b += block) {
        float most = 0.0F;
        for (std::size_t i = b; i < b + block; ++i) most = std::max(most, std::abs(x[i]));
        for (std::size_t i = b; i < b + block; ++i)
          ASSERT_LE(std::abs(back[i] - x[i]), half_step(dtype) * most) << i << ' ' << x[i];
      }
    }
  }
}

TEST(Quants, ZerosStayZero) {
  for (const DType dtype : kWritable) {
    for (const float x : there_and_back(dtype, std::vector<float>(512, 0.0F))) EXPECT_EQ(x, 0.0F);
  }
}

TEST(Quants, WhatIsOnTheGridStaysExactly) {
  // Widened blocks are representable, so rounding them again changes nothing.
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0F, 2.0F);
  for (const DType dtype :
       {DType::kF16, DType::kBF16, DType::kQ4_0, DType::kMXFP4, DType::kTQ2_0}) {
    std::vector<float> x(1024);
    for (float& v : x) v = normal(random);
    const std::vector<float> once = there_and_back(dtype, x);
    EXPECT_EQ(there_and_back(dtype, once), once) << name(dtype);
  }
}

TEST(Quants, NoNumberMakesWritingUndefined) {
  const float inf = std::numeric_limits<float>::infinity();
  const float odd[] = {inf, -inf, std::nanf(""), 3e38F, -3e38F, 1e-45F, -1e-45F, 1e-38F};
  for (const DType dtype : kWritable) {
    for (const float x : odd) {
      std::vector<float> row(256, 0.25F);
      row[3] = x;
      (void)there_and_back(dtype, row);
    }
    (void)there_and_back(dtype, std::vector<float>(256, 1e-45F));
  }
}

TEST(Quants, PartsOfBlocksAndOtherTypesAreRefused) {
  std::vector<std::byte> blocks(1024);
  std::vector<float> x(33);
  EXPECT_THROW(quants::dequantise(DType::kQ8_0, blocks.data(), x), Error);
  EXPECT_THROW(quants::quantise(DType::kQ8_0, x, blocks.data()), Error);
  EXPECT_THROW(quants::dequantise(DType::kF32, blocks.data(), x), Error);
  EXPECT_THROW(quants::quantise(DType::kQ4_K, std::vector<float>(256), blocks.data()), Error);
  EXPECT_FALSE(quants::can_quantise(DType::kIQ2_S));
}

/// Bytes of any kind are some numbers: no table is read beyond its end.
TEST(Quants, AnyBytesWiden) {
  std::mt19937 random(3);
  for (int i = static_cast<int>(DType::kQ4_0); i <= static_cast<int>(DType::kNVFP4); ++i) {
    const auto dtype = static_cast<DType>(i);
    const Block block = block_of(dtype);
    std::vector<std::byte> bytes(64 * block.bytes);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    std::vector<float> to(static_cast<std::size_t>(64 * block.numbers));
    quants::dequantise(dtype, bytes.data(), to);
    std::fill(bytes.begin(), bytes.end(), std::byte{255});
    quants::dequantise(dtype, bytes.data(), to);
  }
}

}  // namespace
}  // namespace headscope
