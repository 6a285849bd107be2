#include "models/golden_gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
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
using golden::config_in;
using golden::largest_difference;
using golden::run_of;
using golden::worst_of;
using json::Value;

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

TEST(GoldenGguf, ModelsRunAsTransformersRunThem) {
  HEADSCOPE_REQUIRE_GOLDEN("gguf");
  int models = 0;
  for (const auto& folder : golden::folders("gguf")) {
    const std::string name = folder.filename().string();
    SCOPED_TRACE(name);
    const Safetensors io = Safetensors::open(folder / "io.safetensors");
    const Model model = Model::load((folder / "model.gguf").string());
    const headscope::Run run = run_of(model, io);
    const auto said = io.metadata().find("f32_noise");
    const double noise = said == io.metadata().end() ? 0.0 : std::stod(said->second);
    const double tolerance = name == "llama_mixed" ? 2e-4 : std::max(1e-5, 20.0 * noise);
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

/// One model after another whose config.json says something else: it is written so that a reader finds it
/// again, or refused; never written as another model.
TEST(GoldenGguf, WhatConfigSaysComesBackOrIsRefused) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const Value yarn = {{"rope_type", "yarn"},
                      {"factor", 40.0},
                      {"original_max_position_embeddings", 8},
                      {"rope_theta", 10000.0}};
  const auto with = [](Value words, const Value& more) {
    words.update(more);
    return words;
  };
  const Value deep = {{"mscale", 0.707}, {"mscale_all_dim", 0.707}};
  const struct {
    const char* family;
    Value change;
    bool held;
  } kCases[] = {
      {"gemma3_bidirectional", Value::object(), false},
      {"mpt", {{"attn_config", {{"softmax_scale", 0.1}, {"alibi", true}}}}, false},
      {"smollm3", {{"no_rope_layers", {0, 1}}}, false},
      {"gemma2", {{"layer_types", {"full_attention", "full_attention"}}}, false},
      {"gemma2",
       {{"layer_types", {"full_attention", "sliding_attention"}}, {"sliding_window", 3}},
       false},
      {"llama", {{"rope_parameters", with(yarn, {{"attention_factor", 1.5}})}}, true},
      {"llama",
       {{"rope_parameters", with(yarn, {{"mscale", 1.0}, {"mscale_all_dim", 0.5}})}},
       true},
      {"qwen2_yarn",
       {{"rope_parameters", with(yarn, {{"attention_factor", 2.0}})},
        {"use_sliding_window", false}},
       true},
      {"phi3_long", {{"rope_parameters", {{"attention_factor", 1.5}}}}, true},
      {"deepseek_v2", {{"rope_parameters", with(yarn, deep)}}, true},
      {"deepseek_v2",
       {{"rope_parameters", with(yarn, {{"mscale", 1.0}, {"mscale_all_dim", 0.5}})}},
       false},
      {"deepseek_v2", {{"routed_scaling_factor", 2.5}, {"norm_topk_prob", true}}, true},
      {"deepseek_v3", {{"n_group", 2}, {"topk_group", 1}}, true},
      {"olmo3", {{"layer_types", {"full_attention", "sliding_attention"}}}, true},
      {"mistral", {{"sliding_window", 3}}, true},
      {"mixtral", {{"sliding_window", 3}}, false},
      {"gemma3_text",
       {{"layer_types", {"full_attention", "full_attention", "full_attention"}}},
       true},
      {"gemma3_text", {{"layer_types", nullptr}, {"sliding_window_pattern", 2}}, true},
      {"gemma3_text",
       {{"layer_types", {"full_attention", "sliding_attention", "sliding_attention"}}},
       true},
      {"cohere2", {{"layer_types", nullptr}, {"sliding_window_pattern", 2}}, false},
      {"stablelm", {{"use_parallel_residual", true}}, true},
      {"gpt_neox", {{"use_parallel_residual", false}}, true},
      {"granite", {{"logits_scaling", 3.0}, {"attention_multiplier", 0.2}}, true},
      {"nemotron", {{"partial_rotary_factor", 0.25}}, true},
      {"glm4", {{"partial_rotary_factor", 0.25}}, true},
      {"gpt_oss", Value::object(), false},  // another limit of gates than all readers have
      {"gpt_oss", {{"swiglu_limit", 7.0}}, true},
      {"gpt_oss_mxfp4", {{"swiglu_limit", 7.0}}, true},
      {"t5", Value::object(), false},  // another furthest distance
      {"t5", {{"relative_attention_max_distance", 128}}, true},
      {"t5_v1_1", {{"relative_attention_max_distance", 128}}, true},
  };
  for (const auto& one : kCases) {
    SCOPED_TRACE(std::string(one.family) + ' ' + one.change.dump());
    const fs::path golden = golden::golden_dir() / "families" / one.family;
    const Scratch scratch;
    fs::create_directories(scratch / "hf");
    fs::copy_file(golden / "model.safetensors", scratch / "hf" / "model.safetensors");
    Value config = config_in(golden);
    config.merge_patch(one.change);
    write_file(scratch / "hf" / "config.json", config.dump());
    const fs::path gguf = scratch / "model.gguf";
    bool written = true;
    std::string said;
    try {
      models::convert_to_gguf(scratch / "hf", gguf, DType::kF32);
    } catch (const Error& error) {
      written = false;
      said = error.what();
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
      EXPECT_FALSE(fs::exists(gguf));
    }
    EXPECT_EQ(written, one.held) << said;
    if (!written) continue;
    const Safetensors io = Safetensors::open(golden / "io.safetensors");
    const headscope::Run expected = run_of(Model::load((scratch / "hf").string()), io);
    EXPECT_LE(worst_of(run_of(Model::load(gguf.string()), io).logits, expected.logits.any()), 2e-5);
  }
}

/// Every bias that a file has is missed when it is gone, in whatever layer.
TEST(GoldenGguf, AMissingBiasIsRefused) {
  HEADSCOPE_REQUIRE_GOLDEN("gguf");
  for (const auto& folder : golden::folders("gguf")) {
    const std::string path = (folder / "model.gguf").string();
    const Gguf whole = Gguf::open(path);
    for (const auto& [name, view] : whole.tensors()) {
      if (!name.ends_with(".bias")) continue;
      SCOPED_TRACE(folder.filename().string() + ' ' + name);
      std::vector<std::pair<std::string, TensorSource>> rest;
      for (const auto& [other, tensor] : whole.tensors()) {
        if (other != name) rest.emplace_back(other, source_of(tensor));
      }
      const Scratch scratch;
      write_gguf(scratch / "broken.gguf", whole.metadata(), rest);
      EXPECT_THROW(Model::load((scratch / "broken.gguf").string()), Error);
    }
  }
}

/// The same file without one tensor.
void leave_out_tensor(const fs::path& from, const std::string& name, const fs::path& to) {
  const Gguf whole = Gguf::open(from);
  std::vector<std::pair<std::string, TensorSource>> rest;
  for (const auto& [other, tensor] : whole.tensors()) {
    if (other != name) rest.emplace_back(other, source_of(tensor));
  }
  write_gguf(to, whole.metadata(), rest);
}

/// Without output.weight the word embeddings serve, in families where there is such a model; else it is missed.
TEST(GoldenGguf, OnlyFamiliesThatTieWordsDoWithoutOutputWeight) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const std::set<std::string> untied = {"phi",
                                        "stablelm",
                                        "gpt_neox",
                                        "nemotron",
                                        "qwen2_moe",
                                        "olmo2",
                                        "olmo3",
                                        "glm4",
                                        "deepseek_v2",
                                        "deepseek_v3"};
  std::set<std::string> missed, refused;
  int written = 0;
  for (const auto& folder : golden::folders("families")) {
    const std::string type = config_in(folder).value("model_type", std::string());
    if (models::gguf_family_of_type(type) == nullptr) continue;
    SCOPED_TRACE(folder.filename().string());
    const Scratch scratch;
    try {
      models::convert_to_gguf(folder, scratch / "m.gguf", DType::kF32);
      ++written;
    } catch (const Error&) {
      refused.insert(folder.filename().string());
      continue;
    }
    if (Gguf::open(scratch / "m.gguf").find("output.weight") == nullptr) continue;
    leave_out_tensor(scratch / "m.gguf", "output.weight", scratch / "less.gguf");
    try {
      (void)Model::load((scratch / "less.gguf").string());
      EXPECT_FALSE(untied.contains(type));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotFound);
      EXPECT_NE(std::string(error.what()).find("\"output.weight\""), std::string::npos)
          << error.what();
      missed.insert(type);
    }
  }
  EXPECT_EQ(missed, untied);
  const std::set<std::string> beyond_gguf = {"bert_cls",
                                             "bert_mlm",
                                             "bloom_odd",
                                             "cohere2",
                                             "falcon_rw",
                                             "gemma3_bidirectional",
                                             "gpt2_prefix",
                                             "gpt_neox_seq",
                                             "gpt_oss",
                                             "gpt_oss_mxfp4",
                                             "llama_dynamic",
                                             "qwen2_yarn",
                                             "smollm3",
                                             "starcoder2",
                                             "t5",
                                             "t5_v1_1"};
  EXPECT_EQ(refused, beyond_gguf);
  EXPECT_GE(written, 40);
}

/// Whether words are tied comes through, also where readers want output.weight in any case.
TEST(GoldenGguf, TiedWordsOfAnyFamilyComeBack) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const char* family : {"stablelm", "nemotron", "llama"}) {
    SCOPED_TRACE(family);
    const fs::path golden = golden::golden_dir() / "families" / family;
    const Safetensors file = Safetensors::open(golden);
    std::map<std::string, AnyView, std::less<>> views = file.tensors();
    ASSERT_EQ(views.erase("lm_head.weight"), 1U);
    const Scratch scratch;
    fs::create_directories(scratch / "hf");
    write_safetensors(scratch / "hf" / "model.safetensors", views);
    Value config = config_in(golden);
    config["tie_word_embeddings"] = false;
    write_file(scratch / "hf" / "config.json", config.dump());
    try {
      models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF32);
      ADD_FAILURE() << "a model without its last matrix was written";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("lm_head.weight"), std::string::npos);
    }
    EXPECT_FALSE(fs::exists(scratch / "m.gguf"));
    config["tie_word_embeddings"] = true;
    write_file(scratch / "hf" / "config.json", config.dump());
    models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF32);
    const bool llama = std::string(family) == "llama";
    EXPECT_EQ(Gguf::open(scratch / "m.gguf").find("output.weight") == nullptr, llama);
    const Safetensors io = Safetensors::open(golden / "io.safetensors");
    const headscope::Run expected = run_of(Model::load((scratch / "hf").string()), io);
    const headscope::Run found = run_of(Model::load((scratch / "m.gguf").string()), io);
    EXPECT_LE(worst_of(found.logits, expected.logits.any()), 2e-5);
    // The last matrix that was there is none of the embeddings: it counts, whatever config.json says.
    write_safetensors(scratch / "hf" / "model.safetensors", file.tensors());
    models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF32);
    const headscope::Run own = run_of(Model::load((scratch / "hf").string()), io);
    EXPECT_GT(worst_of(own.logits, expected.logits.any()), 1e-3);
    EXPECT_LE(
        worst_of(run_of(Model::load((scratch / "m.gguf").string()), io).logits, own.logits.any()),
        2e-5);
  }
}

/// Of a Gemma 3 that reads pictures, too, the text part is written, whatever its config.json leaves out.
TEST(GoldenGguf, TheTextPartOfGemma3IsWritten) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const fs::path golden = golden::golden_dir() / "families" / "gemma3_text";
  const Safetensors file = Safetensors::open(golden);
  const Tensor eye = Tensor::zeros(DType::kF32, {4, 4});
  Value text = config_in(golden);
  for (const char* key : {"layer_types", "rms_norm_eps", "model_type", "architectures"})
    text.erase(key);
  // Older words: every third layer sees all, and two bases.
  text["sliding_window_pattern"] = 3;
  text["rope_theta"] = 1e6;
  text["rope_local_base_freq"] = 20000.0;
  text["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8.0}};
  text.erase("rope_parameters");
  text.erase("_sliding_window_pattern");
  const Value config = {{"model_type", "gemma3"},
                        {"architectures", {"Gemma3ForConditionalGeneration"}},
                        {"eos_token_id", {1, 106}},
                        {"vision_config", {{"hidden_size", 16}}},
                        {"text_config", text}};
  const std::string kNames[][3] = {
      {"language_model.model.", "language_model.", "vision_tower.vision_model."},
      {"model.language_model.", "", "model.vision_tower."}};
  for (const auto& [inner, outer, vision] : kNames) {
    SCOPED_TRACE(inner);
    const Scratch scratch;
    fs::create_directories(scratch / "hf");
    std::map<std::string, AnyView, std::less<>> views;
    for (const auto& [name, view] : file.tensors())
      views.emplace(name.starts_with("model.") ? inner + name.substr(6) : outer + name, view);
    views.emplace(vision + "encoder.weight", eye.any());
    views.emplace((outer.empty() ? "model." : "") + std::string("multi_modal_projector.weight"),
                  eye.any());
    write_safetensors(scratch / "hf" / "model.safetensors", views);
    write_file(scratch / "hf" / "config.json", config.dump());
    models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF32);
    const Value m = Gguf::open(scratch / "m.gguf").metadata();
    EXPECT_EQ(m["general.architecture"], "gemma3");
    EXPECT_EQ(m["gemma3.attention.sliding_window_pattern"], 3);
    EXPECT_FLOAT_EQ(m["gemma3.rope.freq_base_swa"].get<float>(), 20000.0F);
    const Safetensors io = Safetensors::open(golden / "io.safetensors");
    const headscope::Run expected = run_of(Model::load((scratch / "hf").string()), io);
    const headscope::Run found = run_of(Model::load((scratch / "m.gguf").string()), io);
    EXPECT_LE(worst_of(found.logits, expected.logits.any()), 2e-5);
  }
}

TEST(GoldenGguf, PoolingIsWhatTheFileSays) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  const fs::path golden = golden::golden_dir() / "families" / "bert";
  const Safetensors io = Safetensors::open(golden / "io.safetensors");
  for (const char* mode : {"cls_token", "mean_tokens", "lasttoken", "unit mean_tokens"}) {
    SCOPED_TRACE(mode);
    const bool unit = std::string_view(mode).starts_with("unit ");
    const Scratch scratch;
    fs::create_directories(scratch / "hf" / "1_Pooling");
    for (const char* file : {"config.json", "model.safetensors"})
      fs::copy_file(golden / file, scratch / "hf" / file);
    write_file(scratch / "hf" / "1_Pooling" / "config.json",
               Value{{std::string("pooling_mode_") + (unit ? mode + 5 : mode), true}}.dump());
    write_file(scratch / "hf" / "modules.json",
               unit ? R"([{"type":"sentence_transformers.models.Normalize"}])"
                    : R"([{"type":"sentence_transformers.models.Pooling"}])");
    models::convert_to_gguf(scratch / "hf", scratch / "m.gguf", DType::kF32);
    models::convert_to_folder(scratch / "m.gguf", scratch / "back", DType::kF32);
    const Model model = Model::load((scratch / "hf").string());
    const headscope::Run run = run_of(model, io);
    const Tensor expected = model.embedding(run, {});
    double squares = 0.0;
    for (std::int64_t c = 0; c < expected.dim(1); ++c)
      squares += std::pow(double{expected.view<float, 2>()(0, c)}, 2);
    EXPECT_EQ(std::abs(squares - 1.0) < 1e-5, unit) << squares;
    for (const char* other : {"m.gguf", "back"}) {
      const Model again = Model::load((scratch / other).string());
      EXPECT_LE(worst_of(again.embedding(run, {}), expected.any()), 1e-6) << other;
    }
  }
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
