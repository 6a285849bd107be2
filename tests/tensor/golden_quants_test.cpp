#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "golden/golden.h"
#include "headscope/safetensors.h"
#include "tensor/quants.h"

namespace headscope {
namespace {

/// The dtype that a golden calls by its upper-case name.
DType dtype_called(std::string upper) {
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  for (int i = 0; i <= static_cast<int>(DType::kNVFP4); ++i) {
    if (name(static_cast<DType>(i)) == upper) return static_cast<DType>(i);
  }
  throw Error(ErrorCode::kDType, "no dtype " + upper);
}

std::vector<std::string> types_in(const Safetensors& file) {
  std::vector<std::string> out;
  for (const auto& [tensor, view] : file.tensors()) {
    if (tensor.ends_with(".raw")) out.push_back(tensor.substr(0, tensor.size() - 4));
  }
  return out;
}

/// The widened numbers agree, nearly always to the bit; returns how many do not.
int expect_values(const AnyView& raw, DType dtype, const AnyView& values) {
  const Tensor ours = Tensor::f32_from({dtype, values.shape, raw.data});
  const auto got = ours.span<float>();
  const float* want = values.view<float, 2>().data;
  int other = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(float)) == 0) continue;
    ++other;
    if (std::isinf(want[i])) {
      EXPECT_EQ(got[i], want[i]) << i;
    } else {
      EXPECT_NEAR(got[i], want[i], 2e-7F * std::abs(want[i])) << i;
    }
  }
  return other;
}

TEST(GoldenQuants, EveryBlockOfEveryTypeWidens) {
  HEADSCOPE_REQUIRE_GOLDEN("quants");
  const Safetensors file =
      Safetensors::open(golden::golden_dir() / "quants" / "blocks.safetensors");
  std::size_t types = 0;
  int other = 0;
  for (const std::string& type : types_in(file)) {
    SCOPED_TRACE(type);
    other += expect_values(file.at(type + ".raw"), dtype_called(type), file.at(type + ".values"));
    ++types;
  }
  EXPECT_GE(types, 25U);
  RecordProperty("values_not_bit_exact", other);
}

TEST(GoldenQuants, RowsAreRoundedToTheSameBlocks) {
  HEADSCOPE_REQUIRE_GOLDEN("quants");
  const Safetensors file =
      Safetensors::open(golden::golden_dir() / "quants" / "quantised.safetensors");
  std::size_t types = 0;
  for (const std::string& type : types_in(file)) {
    SCOPED_TRACE(type);
    const DType dtype = dtype_called(type);
    const AnyView& source = file.at(type + ".source");
    const AnyView& raw = file.at(type + ".raw");
    std::vector<std::byte> ours(bytes_of(dtype, source.size()));
    ASSERT_EQ(ours.size(), raw.bytes());
    quants::quantise(dtype,
                     {source.view<float, 2>().data, static_cast<std::size_t>(source.size())},
                     ours.data());
    EXPECT_EQ(std::memcmp(ours.data(), raw.data, ours.size()), 0);
    EXPECT_EQ(expect_values(raw, dtype, file.at(type + ".values")), 0);
    ++types;
  }
  EXPECT_GE(types, 10U);
}

}  // namespace
}  // namespace headscope
