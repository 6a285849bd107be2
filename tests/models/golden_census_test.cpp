#include <gtest/gtest.h>

#include <filesystem>

#include "golden/golden.h"
#include "headscope/safetensors.h"
#include "models/census.h"
#include "models/model_files.h"
#include "models/transformer.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;
using models::Census;

json::Value config_in(const fs::path& folder) {
  return json::parse(read_file(folder / "config.json"), "config.json");
}

/// Numbers of a file that are no buffers and no second copy of tied words.
std::int64_t own_numbers(const Safetensors& file, const Census& census) {
  std::int64_t sum = 0;
  for (const auto& [name, view] : file.tensors()) {
    const bool buffer = name.ends_with("inv_freq") || name.ends_with("masked_bias") ||
                        name.ends_with("position_ids") || view.shape.size() == 4 ||
                        view.dtype == DType::kU8;
    bool tied = name.ends_with("decoder.weight") || name.ends_with("lm_head.weight");
    for (const auto& wanted : census.tensors) tied = tied && !name.ends_with(wanted.name);
    if (!buffer && !tied) sum += view.size();
  }
  return sum;
}

bool is_stack(const json::Value& config) {
  const auto known = models::read_pair(config);
  if (known) return false;
  try {
    (void)models::read_blueprint(config);
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(GoldenCensus, CountsTheNumbersOfEveryFamilysFile) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  int counted = 0;
  for (const auto& folder : golden::folders("families")) {
    const std::string name = folder.filename().string();
    SCOPED_TRACE(name);
    const json::Value config = config_in(folder);
    if (!is_stack(config)) continue;        // two stacks, two towers, pictures
    if (name == "gpt_oss_mxfp4") continue;  // blocks of its own kind
    const Census census =
        models::census(models::read_blueprint(config), config, models::architecture_of(config));
    const Safetensors file = Safetensors::open(folder);
    EXPECT_EQ(census.parameters(), own_numbers(file, census));
    // The shapes are those of the file, name by name.
    for (const auto& wanted : census.tensors) {
      bool found = false;
      for (const auto& [own, view] : file.tensors()) {
        std::string now = own;
        if (now.ends_with("gamma")) now.replace(now.size() - 5, 5, "weight");
        if (now.ends_with("beta")) now.replace(now.size() - 4, 4, "bias");
        const std::size_t rest = now.size() - std::min(now.size(), wanted.name.size());
        const bool whole = rest == 0 || now[rest - 1] == '.';
        if (!whole || !now.ends_with(wanted.name)) continue;
        found = true;
        std::int64_t size = view.size();
        EXPECT_EQ(size, wanted.size()) << own;
      }
      EXPECT_TRUE(found) << wanted.name;
    }
    ++counted;
  }
  EXPECT_GE(counted, 50);
}

TEST(GoldenCensus, CountsTheNumbersOfRealModels) {
  HEADSCOPE_REQUIRE_MODEL("minilm-l6");
  const fs::path folder = golden::models_dir() / "minilm-l6";
  const json::Value config = config_in(folder);
  const Census census =
      models::census(models::read_blueprint(config), config, models::architecture_of(config));
  EXPECT_EQ(census.parameters(), 22'713'216);
  EXPECT_EQ(census.parameters(), own_numbers(Safetensors::open(folder), census));
}

TEST(GoldenCensus, DrawnWeightsRunInEveryFamily) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  int ran = 0;
  for (const auto& folder : golden::folders("families")) {
    SCOPED_TRACE(folder.filename().string());
    const json::Value config = config_in(folder);
    if (!is_stack(config)) continue;
    const models::Blueprint b = models::read_blueprint(config);
    const std::string architecture = models::architecture_of(config);
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
      const Census census = models::census(b, config, architecture);
      const models::Transformer model(b, models::drawn(census, dtype, b.matrices), architecture);
      EXPECT_EQ(model.parameters(), census.parameters());
      Tokens tokens;
      tokens.ids = Tensor::zeros(DType::kI32, {1, 5});
      const headscope::Run run = model.run(tokens, {});
      for (const float x : run.last_hidden_state.span<float>()) ASSERT_TRUE(std::isfinite(x));
    }
    ++ran;
  }
  EXPECT_GE(ran, 50);
}

}  // namespace
}  // namespace headscope
