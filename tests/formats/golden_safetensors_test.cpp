#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/scratch.h"
#include "golden/golden.h"
#include "headscope/safetensors.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

/// Every tensor of `a` is in `b`, to the byte, and the other way round.
void expect_same(const Safetensors& a, const Safetensors& b) {
  EXPECT_EQ(a.metadata(), b.metadata());
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const auto& [name, view] : a.tensors()) {
    const AnyView& other = b.at(name);
    EXPECT_EQ(view.dtype, other.dtype) << name;
    ASSERT_EQ(view.shape, other.shape) << name;
    if (view.bytes() == 0) continue;
    EXPECT_EQ(std::memcmp(view.data, other.data, view.bytes()), 0) << name;
  }
}

/// Opens every .safetensors file below a folder; rewrites the small ones and reads them back.
void check_all(const fs::path& root) {
  constexpr std::uintmax_t kSmall = 1'000'000;
  const Scratch scratch;
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file() || entry.path().extension() != ".safetensors") continue;
    SCOPED_TRACE(entry.path().string());
    ++files;
    const Safetensors file = Safetensors::open(entry.path());
    EXPECT_GT(file.tensors().size(), 0U);
    if (entry.file_size() >= kSmall) continue;
    write_safetensors(scratch / "again.safetensors", file.tensors(), file.metadata());
    expect_same(file, Safetensors::open(scratch / "again.safetensors"));
  }
  EXPECT_GT(files, 0U) << root;
}

TEST(GoldenSafetensors, FilesOfAttentionReadAndRewrite) {
  HEADSCOPE_REQUIRE_GOLDEN("attention");
  check_all(golden::golden_dir() / "attention");
}

TEST(GoldenSafetensors, FilesOfFamiliesReadAndRewrite) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  check_all(golden::golden_dir() / "families");
}

TEST(GoldenSafetensors, FilesOfHeadsReadAndRewrite) {
  HEADSCOPE_REQUIRE_GOLDEN("heads");
  check_all(golden::golden_dir() / "heads");
}

TEST(GoldenSafetensors, RealModelsOpen) {
  HEADSCOPE_REQUIRE_MODEL("minilm-l6");
  check_all(golden::models_dir());
  const Safetensors minilm = Safetensors::open(golden::models_dir() / "minilm-l6");
  EXPECT_EQ(minilm.at("embeddings.word_embeddings.weight").shape, (Shape{30522, 384}));
}

}  // namespace
}  // namespace headscope
