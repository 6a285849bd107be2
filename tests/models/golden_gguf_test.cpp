#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/bytes.h"
#include "formats/json.h"
#include "formats/scratch.h"
#include "golden/golden.h"
#include "headscope/gguf.h"
#include "headscope/model.h"
#include "models/gguf_convert.h"
#include "models/gguf_families.h"
#include "models/gguf_tensors.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;
using json::Value;

Value config_in(const fs::path& folder) {
  return json::parse(read_file(folder / "config.json"), "config.json");
}

double largest_difference(const AnyView& a, const AnyView& b) {
  const Tensor x = Tensor::f32_from(a);
  const Tensor y = Tensor::f32_from(b);
  double worst = 0.0;
  for (std::size_t i = 0; i < x.span<float>().size(); ++i)
    worst = std::max(worst,
                     std::abs(static_cast<double>(x.span<float>()[i]) -
                              static_cast<double>(y.span<float>()[i])));
  return worst;
}

/// Every tensor of `theirs` that is no buffer is among `ours` and agrees to the tolerance.
void expect_same_tensors(const std::map<std::string, AnyView, std::less<>>& ours,
                         const Safetensors& theirs,
                         double tolerance,
                         bool tied) {
  const auto find = [&](const std::string& name) {
    auto found = ours.find(name);
    for (const char* outer : {"transformer.", "model.", "bert."}) {
      if (found == ours.end() && name.starts_with(outer))
        found = ours.find(name.substr(std::strlen(outer)));
      if (found == ours.end()) found = ours.find(outer + name);
    }
    return found;
  };
  for (const auto& [name, view] : theirs.tensors()) {
    const bool buffer = name.ends_with("inv_freq") || name.ends_with("masked_bias") ||
                        name.ends_with("position_ids") ||
                        name.find("pooler.") != std::string::npos || view.shape.size() == 4 ||
                        (tied && name == "lm_head.weight");
    if (buffer) continue;
    std::string now = name;
    if (name.ends_with("gamma")) now.replace(name.size() - 5, 5, "weight");
    if (name.ends_with("beta")) now.replace(name.size() - 4, 4, "bias");
    const auto found = find(now);
    ASSERT_NE(found, ours.end()) << name;
    ASSERT_EQ(found->second.shape, view.shape) << name;
    EXPECT_LE(largest_difference(found->second, view), tolerance) << name;
  }
}

TEST(GoldenGguf, TensorsAndConfigAreThoseOfTheFamily) {
  HEADSCOPE_REQUIRE_GOLDEN("gguf");
  for (const auto& folder : golden::folders("gguf")) {
    SCOPED_TRACE(folder.filename().string());
    const Gguf file = Gguf::open(folder / "model.gguf");
    const models::GgufModel model = models::model_from_gguf(file);
    const fs::path family = golden::golden_dir() / "families" / folder.filename();
    if (!fs::exists(family)) continue;  // the mixed llama has no folder of its own
    const Value config = config_in(family);
    const bool tied = config.value("tie_word_embeddings", true);
    expect_same_tensors(model.tensors, Safetensors::open(family), 1.2e-7, tied);
    EXPECT_EQ(model.config["vocab_size"], config["vocab_size"]);
    EXPECT_EQ(model.config["tie_word_embeddings"], tied);
    for (const char* key : {"hidden_size",
                            "num_hidden_layers",
                            "num_attention_heads",
                            "num_key_value_heads",
                            "intermediate_size",
                            "max_position_embeddings",
                            "rms_norm_eps",
                            "n_embd",
                            "n_layer",
                            "n_head",
                            "n_positions",
                            "layer_norm_epsilon",
                            "activation_function"}) {
      if (config.contains(key)) {
        EXPECT_EQ(model.config[key], config[key]) << key;
      }
    }
  }
}

/// HF -> GGUF -> HF gives every tensor back, rounded to f16 once, and exactly in f32.
TEST(GoldenGguf, EveryFamilyWithGgufNamesComesBack) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  int converted = 0;
  for (const auto& folder : golden::folders("families")) {
    const std::string name = folder.filename().string();
    SCOPED_TRACE(name);
    const Value config = config_in(folder);
    if (models::gguf_family_of_type(config.value("model_type", std::string())) == nullptr) continue;
    const Scratch scratch;
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      const fs::path gguf = scratch / "model.gguf";
      try {
        models::convert_to_gguf(folder, gguf, dtype);
      } catch (const Error& error) {
        golden::leave_out(name, error.what());
        break;
      }
      const fs::path back = scratch / (dtype == DType::kF32 ? "f32" : "f16");
      models::convert_to_folder(gguf, back, DType::kF32);
      const Value again = config_in(back);
      const bool windowless = name == "mistral_head_dim";  // a llama by any other name
      EXPECT_EQ(again["model_type"], windowless ? Value("llama") : config["model_type"]);
      const Safetensors ours = Safetensors::open(back);
      const Safetensors theirs = Safetensors::open(folder);
      const bool tied = config.value("tie_word_embeddings", true);
      double largest = 0.0;
      for (const auto& [tensor, view] : theirs.tensors()) {
        const Tensor wide = Tensor::f32_from(view);
        if (view.shape.size() < 4)
          for (const float x : wide.span<float>())
            largest = std::max(largest, static_cast<double>(std::abs(x)));
      }
      expect_same_tensors(
          ours.tensors(), theirs, dtype == DType::kF32 ? 1.2e-7 : largest * 0x1p-11, tied);
      ++converted;
    }
  }
  EXPECT_GE(converted, 40);
}

double worst_of(const Tensor& ours, const AnyView& theirs) {
  EXPECT_EQ(ours.shape(), theirs.shape);
  return ours.shape() == theirs.shape ? largest_difference(ours.any(), theirs) : HUGE_VAL;
}

Run run_of(const Model& model, const Safetensors& io) {
  const AnyView& ids = io.at("input_ids");
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, ids.shape);
  for (std::size_t i = 0; i < tokens.ids.span<std::int32_t>().size(); ++i)
    tokens.ids.span<std::int32_t>()[i] =
        static_cast<std::int32_t>(ids.view<std::int64_t, 2>().data[i]);
  RunOptions options;
  options.hidden_states = true;
  return model.run(tokens, options);
}

TEST(GoldenGguf, ModelsRunAsTransformersRunThem) {
  HEADSCOPE_REQUIRE_GOLDEN("gguf");
  int models = 0;
  for (const auto& folder : golden::folders("gguf")) {
    const std::string name = folder.filename().string();
    SCOPED_TRACE(name);
    const Safetensors io = Safetensors::open(folder / "io.safetensors");
    const Model model = Model::load((folder / "model.gguf").string());
    const headscope::Run run = run_of(model, io);
    const double tolerance = name == "llama_mixed" ? 2e-4 : 1e-5;
    EXPECT_LE(worst_of(run.logits, io.at("logits")), tolerance);
    for (std::size_t l = 0; l < run.hidden_states.size(); ++l) {
      const AnyView* theirs = io.find("hidden_states." + std::to_string(l));
      ASSERT_NE(theirs, nullptr) << l;
      EXPECT_LE(worst_of(run.hidden_states[l], *theirs), tolerance) << l;
    }
    EXPECT_EQ(Model::load(folder.string()).family(), model.family());
    ++models;
  }
  EXPECT_GE(models, 6);
}

TEST(GoldenGguf, AConvertedModelGivesTheSameLogits) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  int models = 0;
  for (const auto& folder : golden::folders("families")) {
    const std::string name = folder.filename().string();
    SCOPED_TRACE(name);
    const Value config = config_in(folder);
    const Safetensors io = Safetensors::open(folder / "io.safetensors");
    const bool plain = io.find("input_ids") != nullptr && io.find("logits") != nullptr;
    if (!plain || models::gguf_family_of_type(config.value("model_type", std::string())) == nullptr)
      continue;
    const Scratch scratch;
    try {
      models::convert_to_gguf(folder, scratch / "model.gguf", DType::kF32);
    } catch (const Error& error) {
      golden::leave_out(name, error.what());
      continue;
    }
    const Model whole = Model::load(folder.string());
    const Model again = Model::load((scratch / "model.gguf").string());
    const headscope::Run expected = run_of(whole, io);
    const headscope::Run found = run_of(again, io);
    EXPECT_LE(worst_of(found.logits, expected.logits.any()), 2e-5);
    models::convert_to_folder(scratch / "model.gguf", scratch / "back", DType::kF32);
    const Model back = Model::load((scratch / "back").string());
    EXPECT_LE(worst_of(run_of(back, io).logits, expected.logits.any()), 2e-5);
    ++models;
  }
  EXPECT_GE(models, 25);
}

TEST(GoldenGguf, RealModelsLoad) {
  HEADSCOPE_REQUIRE_MODEL("smollm2-135m");
  const Model smol = Model::load((golden::models_dir() / "smollm2-135m").string());
  EXPECT_EQ(smol.layers(), 30);
  EXPECT_EQ(smol.heads(), 9);
  EXPECT_EQ(smol.width(), 576);
  EXPECT_EQ(smol.positions(), 8192);
  const Model stories =
      Model::load((golden::models_dir() / "stories260k" / "stories260K.gguf").string());
  EXPECT_EQ(stories.layers(), 5);
  EXPECT_EQ(stories.heads(), 8);
  EXPECT_EQ(stories.width(), 64);
  EXPECT_EQ(stories.positions(), 512);
}

}  // namespace
}  // namespace headscope
