// GGUF files of gpt-oss and T5, laid out here as llama.cpp's converter lays them out, are the models of their folders.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "formats/json.h"
#include "formats/scratch.h"
#include "headscope/gguf.h"
#include "headscope/model.h"
#include "models/gguf_convert.h"
#include "models/tiny_pair.h"
#include "tensor/quants.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;
using json::Value;
using test::TinyPair;
using Tensors = std::map<std::string, Tensor>;

void save_folder(const fs::path& folder, const Tensors& tensors, const Value& config) {
  fs::create_directories(folder);
  std::map<std::string, AnyView, std::less<>> views;
  for (const auto& [name, tensor] : tensors) views.emplace(name, tensor.any());
  write_safetensors(folder / "model.safetensors", views);
  write_file(folder / "config.json", config.dump());
}

void save_gguf(const fs::path& path, const Tensors& tensors, const Value& metadata) {
  std::vector<std::pair<std::string, TensorSource>> sources;
  for (const auto& [name, tensor] : tensors) sources.emplace_back(name, source_of(tensor.any()));
  write_gguf(path, metadata, sources);
}

Tensors copy_of(const Tensors& tensors) {
  Tensors out;
  for (const auto& [name, tensor] : tensors) out.emplace(name, Tensor::copy_of(tensor.any()));
  return out;
}

/// Largest difference of two results as a share of the largest number.
double apart(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double worst = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < std::min(a.span<float>().size(), b.span<float>().size()); ++i) {
    const double x = double{a.span<float>()[i]};
    worst = std::max(worst, std::abs(x - double{b.span<float>()[i]}));
    largest = std::max(largest, std::abs(x));
  }
  EXPECT_GT(largest, 1e-3);
  return worst / largest;
}

constexpr double kSame = 1e-6;  // sums of f32 in another order

headscope::Run run_of(const fs::path& model, std::int32_t tokens = 12) {
  Tokens input;
  input.ids = Tensor(DType::kI32, {1, tokens});
  for (std::int32_t i = 0; i < tokens; ++i)
    input.ids.span<std::int32_t>()[static_cast<std::size_t>(i)] = (i * 7 + 3) % 30;
  return Model::load(model.string()).run(input);
}

std::string refusal_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

/// gpt-oss of random weights in both layouts: 3 layers, 4 heads on 2, 5 experts of which 2 are chosen.
class GptOss {
 public:
  static constexpr std::int64_t C = 64, W = 32, E = 5, H = 4, G = 2, D = 16, L = 3, V = 30;

  GptOss() {
    both("model.embed_tokens.weight", "token_embd.weight", {V, C});
    both("model.norm.weight", "output_norm.weight", {C});
    both("lm_head.weight", "output.weight", {V, C});
    for (std::int64_t l = 0; l < L; ++l) {
      const std::string hf = "model.layers." + std::to_string(l) + ".";
      const std::string own = "blk." + std::to_string(l) + ".";
      both(hf + "input_layernorm.weight", own + "attn_norm.weight", {C});
      both(hf + "post_attention_layernorm.weight", own + "post_attention_norm.weight", {C});
      both(hf + "self_attn.sinks", own + "attn_sinks.weight", {H});
      linear(hf + "self_attn.q_proj", own + "attn_q", C, H * D);
      linear(hf + "self_attn.k_proj", own + "attn_k", C, G * D);
      linear(hf + "self_attn.v_proj", own + "attn_v", C, G * D);
      linear(hf + "self_attn.o_proj", own + "attn_output", H * D, C);
      linear(hf + "mlp.router", own + "ffn_gate_inp", C, E);
      experts(hf + "mlp.experts.", own);
    }
  }

  static Value config() {
    return {{"model_type", "gpt_oss"},
            {"architectures", {"GptOssForCausalLM"}},
            {"hidden_size", C},
            {"intermediate_size", W},
            {"num_hidden_layers", L},
            {"num_attention_heads", H},
            {"num_key_value_heads", G},
            {"head_dim", D},
            {"num_local_experts", E},
            {"num_experts_per_tok", 2},
            {"sliding_window", 4},
            {"max_position_embeddings", 128},
            {"vocab_size", V},
            {"attention_bias", true},
            {"tie_word_embeddings", false},
            {"rope_theta", 150000.0},
            {"rope_scaling",
             {{"rope_type", "yarn"},
              {"factor", 8.0},
              {"beta_fast", 32.0},
              {"beta_slow", 1.0},
              {"original_max_position_embeddings", 16},
              {"truncate", false}}}};
  }
  static Value metadata() {
    return {{"general.architecture", "gpt-oss"},
            {"gpt-oss.block_count", L},
            {"gpt-oss.context_length", 128},
            {"gpt-oss.embedding_length", C},
            {"gpt-oss.feed_forward_length", W},
            {"gpt-oss.attention.head_count", H},
            {"gpt-oss.attention.head_count_kv", G},
            {"gpt-oss.attention.key_length", D},
            {"gpt-oss.attention.value_length", D},
            {"gpt-oss.attention.layer_norm_rms_epsilon", 1e-5},
            {"gpt-oss.attention.sliding_window", 4},
            {"gpt-oss.rope.freq_base", 150000.0},
            {"gpt-oss.rope.scaling.type", "yarn"},
            {"gpt-oss.rope.scaling.factor", 8.0},
            {"gpt-oss.rope.scaling.original_context_length", 16},
            {"gpt-oss.expert_count", E},
            {"gpt-oss.expert_used_count", 2},
            {"gpt-oss.expert_feed_forward_length", W},
            {"tokenizer.ggml.model", "no_vocab"}};
  }

  Tensors folder, packed, gguf;  ///< `packed`: a folder whose experts are MXFP4

 private:
  Tensor numbers(const Shape& shape) {
    Tensor t(DType::kF32, shape);
    std::normal_distribution<float> normal(0.0F, 0.4F);
    for (float& x : t.span<float>()) x = normal(random_);
    return t;
  }
  void both(const std::string& hf, const std::string& in_gguf, const Shape& shape) {
    Tensor t = numbers(shape);
    packed.emplace(hf, Tensor::copy_of(t.any()));
    gguf.emplace(in_gguf, Tensor::copy_of(t.any()));
    folder.emplace(hf, std::move(t));
  }
  void linear(const std::string& hf,
              const std::string& in_gguf,
              std::int64_t in,
              std::int64_t out) {
    both(hf + ".weight", in_gguf + ".weight", {out, in});
    both(hf + ".bias", in_gguf + ".bias", {out});
  }

  /// [E,out,in] of MXFP4, as GGUF has it.
  Tensor blocks(std::int64_t out, std::int64_t in) {
    Tensor t(DType::kMXFP4, {E, out, in});
    quants::quantise(DType::kMXFP4, numbers({E, out, in}).span<float>(), t.raw());
    return t;
  }

  /// One stack of Hugging Face's of one or two (whose rows alternate) of GGUF's.
  void stack(const std::string& name, const std::vector<const Tensor*>& parts) {
    const std::int64_t n = static_cast<std::int64_t>(parts.size());
    const std::int64_t out = parts[0]->dim(1);
    const std::int64_t in = parts[0]->dim(2);
    Tensor plain(DType::kF32, {E, in, n * out});
    Tensor bytes = Tensor::zeros(DType::kU8, {E, n * out, in / 32, 16});
    Tensor exponents(DType::kU8, {E, n * out, in / 32});
    for (std::int64_t p = 0; p < n; ++p) {
      const Tensor wide = Tensor::f32_from(parts[static_cast<std::size_t>(p)]->any());
      const std::byte* block = parts[static_cast<std::size_t>(p)]->raw();
      for (std::int64_t e = 0; e < E; ++e) {
        for (std::int64_t r = 0; r < out; ++r) {
          const std::int64_t row = n * r + p;
          for (std::int64_t k = 0; k < in; ++k)
            plain.view<float, 3>()(e, k, row) = wide.view<float, 3>()(e, r, k);
          for (std::int64_t b = 0; b < in / 32; ++b, block += 17) {
            exponents.view<std::uint8_t, 3>()(e, row, b) = std::to_integer<std::uint8_t>(block[0]);
            for (int i = 0; i < 32; ++i) {
              const int byte = std::to_integer<int>(block[1 + i % 16]);
              const int code = i < 16 ? byte & 15 : byte >> 4;
              bytes.view<std::uint8_t, 4>()(e, row, b, i / 2) |=
                  static_cast<std::uint8_t>(code << (4 * (i % 2)));
            }
          }
        }
      }
    }
    folder.emplace(name, std::move(plain));
    packed.emplace(name + "_blocks", std::move(bytes));
    packed.emplace(name + "_scales", std::move(exponents));
  }

  void experts(const std::string& hf, const std::string& in_gguf) {
    Tensor gate = blocks(W, C), up = blocks(W, C), down = blocks(C, W);
    stack(hf + "gate_up_proj", {&gate, &up});
    stack(hf + "down_proj", {&down});
    both(hf + "down_proj_bias", in_gguf + "ffn_down_exps.bias", {E, C});
    both(hf + "gate_up_proj_bias", "both", {E, 2 * W});
    const Tensor all = std::move(gguf.extract("both").mapped());
    for (const int part : {0, 1}) {
      Tensor one(DType::kF32, {E, W});
      for (std::int64_t e = 0; e < E; ++e) {
        for (std::int64_t w = 0; w < W; ++w)
          one.view<float, 2>()(e, w) = all.view<float, 2>()(e, 2 * w + part);
      }
      gguf.emplace(in_gguf + (part == 0 ? "ffn_gate_exps.bias" : "ffn_up_exps.bias"),
                   std::move(one));
    }
    gguf.emplace(in_gguf + "ffn_gate_exps.weight", std::move(gate));
    gguf.emplace(in_gguf + "ffn_up_exps.weight", std::move(up));
    gguf.emplace(in_gguf + "ffn_down_exps.weight", std::move(down));
  }

  std::mt19937 random_{11};
};

TEST(GgufGptOss, IsTheModelOfItsFolder) {
  const GptOss made;
  const Scratch scratch;
  save_folder(scratch / "plain", made.folder, GptOss::config());
  save_folder(scratch / "packed", made.packed, GptOss::config());
  save_gguf(scratch / "m.gguf", made.gguf, GptOss::metadata());
  // Longer than the window and than the original context of YaRN.
  const Tensor expected = run_of(scratch / "plain", 40).logits;
  EXPECT_LE(apart(run_of(scratch / "packed", 40).logits, expected), kSame);
  EXPECT_LE(apart(run_of(scratch / "m.gguf", 40).logits, expected), kSame);

  // Which layers have windows may be listed.
  Value listed = GptOss::metadata();
  listed["gpt-oss.attention.sliding_window_pattern"] = {true, false, true};
  save_gguf(scratch / "listed.gguf", made.gguf, listed);
  EXPECT_LE(apart(run_of(scratch / "listed.gguf", 40).logits, expected), kSame);
  listed["gpt-oss.attention.sliding_window_pattern"] = {false, false, true};
  save_gguf(scratch / "other.gguf", made.gguf, listed);
  EXPECT_GT(apart(run_of(scratch / "other.gguf", 40).logits, expected), 1e-3);
}

TEST(GgufGptOss, ConvertsBothWays) {
  const GptOss made;
  const Scratch scratch;
  for (const bool packed : {false, true}) {
    SCOPED_TRACE(packed);
    const fs::path hf = scratch / (packed ? "packed" : "plain");
    const fs::path gguf = scratch / (packed ? "packed.gguf" : "plain.gguf");
    save_folder(hf, packed ? made.packed : made.folder, GptOss::config());
    models::convert_to_gguf(hf, gguf, DType::kF32);
    const Gguf file = Gguf::open(gguf);
    EXPECT_EQ(file.tensors().size(), made.gguf.size());
    for (const auto& [name, tensor] : made.gguf) {
      const AnyView& found = file.at(name);
      EXPECT_EQ(found.shape, tensor.shape()) << name;
      if (packed) {
        EXPECT_EQ(found.dtype, tensor.dtype()) << name;
        EXPECT_TRUE(std::equal(found.data, found.data + found.bytes(), tensor.raw())) << name;
      } else {
        const Tensor ours = Tensor::f32_from(found);
        const Tensor theirs = Tensor::f32_from(tensor.any());
        EXPECT_TRUE(std::ranges::equal(ours.span<float>(), theirs.span<float>())) << name;
      }
    }
    const Tensor expected = run_of(hf).logits;
    EXPECT_LE(apart(run_of(gguf).logits, expected), kSame);
    const fs::path back = scratch / (packed ? "packed_back" : "plain_back");
    models::convert_to_folder(gguf, back, DType::kF32);
    EXPECT_LE(apart(run_of(back).logits, expected), kSame);
    const Safetensors again = Safetensors::open(back);
    EXPECT_EQ(again.tensors().size(), made.folder.size());
    for (const auto& [name, tensor] : made.folder) {
      const Tensor ours = Tensor::f32_from(again.at(name));
      EXPECT_TRUE(std::ranges::equal(ours.span<float>(), tensor.span<float>())) << name;
    }
  }
  // Rounded to bf16, which holds every number of MXFP4.
  models::convert_to_folder(scratch / "packed.gguf", scratch / "short", DType::kBF16);
  const Tensor ours = Tensor::f32_from(
      Safetensors::open(scratch / "short").at("model.layers.1.mlp.experts.down_proj"));
  EXPECT_TRUE(std::ranges::equal(
      ours.span<float>(), made.folder.at("model.layers.1.mlp.experts.down_proj").span<float>()));
}

TEST(GgufGptOss, WhatGgufCannotSayIsRefused) {
  const GptOss made;
  const Scratch scratch;
  const std::pair<const char*, Value> kChanges[] = {
      {"swiglu_limit", {{"swiglu_limit", 5.0}}},
      {"rope",
       {{"rope_scaling", {{"truncate", true}, {"original_max_position_embeddings", 4096}}}}},
      {"window_left",
       {{"layer_types", {"full_attention", "sliding_attention", "full_attention"}}}}};
  for (const auto& [word, change] : kChanges) {
    Value config = GptOss::config();
    config.merge_patch(change);
    save_folder(scratch / word, made.folder, config);
    const fs::path to = scratch / "refused.gguf";
    const std::string said =
        refusal_of([&, from = scratch / word] { models::convert_to_gguf(from, to, DType::kF32); });
    EXPECT_NE(said.find(word), std::string::npos) << said;
    EXPECT_FALSE(fs::exists(to));
  }
}

TEST(GgufGptOss, EveryTensorThatIsMissingIsMissed) {
  const GptOss made;
  const Scratch scratch;
  for (const auto& [name, tensor] : made.gguf) {
    if (name.starts_with("blk.") && !name.starts_with("blk.1.")) continue;
    Tensors rest = copy_of(made.gguf);
    rest.erase(name);
    save_gguf(scratch / "broken.gguf", rest, GptOss::metadata());
    const std::string said =
        refusal_of([&] { (void)Model::load((scratch / "broken.gguf").string()); });
    // By the file's name for it.
    EXPECT_NE(said.find("expected a tensor \"" + name + "\" ("), std::string::npos) << said;
  }
}

TEST(GgufNames, ErrorsNameTensorsAsTheFileDoes) {
  GptOss made;
  const Scratch scratch;
  const auto said = [&] {
    save_gguf(scratch / "m.gguf", made.gguf, GptOss::metadata());
    return refusal_of([&] { (void)Model::load((scratch / "m.gguf").string()); });
  };
  Tensor& bias = made.gguf.at("blk.1.ffn_up_exps.bias");
  bias.span<float>()[3] = std::nanf("");
  EXPECT_NE(said().find("finite numbers in \"blk.1.ffn_up_exps.bias\" ("), std::string::npos)
      << said();
  bias.span<float>()[3] = 0.0F;
  made.gguf.at("blk.2.attn_q.weight") = Tensor::zeros(DType::kF32, {3, 5});
  EXPECT_NE(said().find("expected \"blk.2.attn_q.weight\" (model.layers.2.self_attn.q_proj.weight) "
                        "[64,64], found [3,5]"),
            std::string::npos)
      << said();
}

/// T5's names in GGUF, in full: a plain list beside the tables that are tested.
std::string t5_name(std::string name) {
  const std::pair<const char*, const char*> kWhole[] = {
      {"shared.weight", "token_embd.weight"},
      {"lm_head.weight", "output.weight"},
      {"encoder.final_layer_norm.weight", "enc.output_norm.weight"},
      {"decoder.final_layer_norm.weight", "dec.output_norm.weight"}};
  for (const auto& [hf, gguf] : kWhole) {
    if (name == hf) return gguf;
  }
  const bool decodes = name.starts_with("decoder.");
  const std::pair<std::string, const char*> kParts[] = {
      {"encoder.block.", "enc.blk."},
      {"decoder.block.", "dec.blk."},
      {"layer.0.layer_norm", "attn_norm"},
      {"layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"},
      {"layer.0.SelfAttention.", "attn_"},
      {decodes ? "layer.1.layer_norm" : "layer.1.layer_norm",
       decodes ? "cross_attn_norm" : "ffn_norm"},
      {"layer.2.layer_norm", "ffn_norm"},
      {"layer.1.EncDecAttention.", "cross_attn_"},
      {decodes ? "layer.2.DenseReluDense." : "layer.1.DenseReluDense.", "ffn_"},
      {"ffn_wi_0", "ffn_gate"},
      {"ffn_wi_1", "ffn_up"},
      {"ffn_wi", "ffn_up"},
      {"ffn_wo", "ffn_down"}};
  for (const auto& [hf, gguf] : kParts) {
    const std::size_t at = name.find(hf);
    if (at != std::string::npos) name.replace(at, hf.size(), gguf);
  }
  return name;
}

Value t5_metadata(const std::string& architecture) {
  Value out = {{"general.architecture", architecture}, {"tokenizer.ggml.model", "no_vocab"}};
  const Value keys = {{"block_count", 2},
                      {"decoder_block_count", 3},
                      {"context_length", 512},
                      {"embedding_length", 16},
                      {"feed_forward_length", 20},
                      {"attention.head_count", 4},
                      {"attention.key_length", 6},
                      {"attention.value_length", 6},
                      {"attention.layer_norm_epsilon", 1e-6},
                      {"attention.layer_norm_rms_epsilon", 1e-6},
                      {"attention.relative_buckets_count", 8},
                      {"decoder_start_token_id", 3}};
  for (const auto& [key, value] : keys.items()) out[architecture + '.' + key] = value;
  return out;
}

struct T5Case {
  const char* name;
  Value config;
  bool gated = true, output = false, tables = false;
};

/// What TinyPair writes, as a case wants it.
Tensors t5_tensors(const TinyPair& made, const T5Case& one) {
  const Safetensors file = Safetensors::open(made.folder().path());
  Tensors out;
  for (const auto& [name, view] : file.tensors()) {
    if (!one.gated && name.find("wi_0") != std::string::npos) continue;
    std::string own = name;
    if (const std::size_t at = own.find("wi_1"); !one.gated && at != std::string::npos)
      own.replace(at, 4, "wi");
    out.emplace(own, Tensor::copy_of(view));
  }
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  const auto put = [&](const std::string& name, const Shape& shape) {
    Tensor t(DType::kF32, shape);
    for (float& x : t.span<float>()) x = normal(random);
    out.emplace(name, std::move(t));
  };
  if (one.output) put("lm_head.weight", {30, 16});
  for (const char* block : {"encoder.block.1.", "decoder.block.1.", "decoder.block.2."}) {
    if (one.tables)
      put(std::string(block) + "layer.0.SelfAttention.relative_attention_bias.weight", {8, 4});
  }
  return out;
}

TEST(GgufT5, IsTheModelOfItsFolder) {
  const Value common = {{"relative_attention_max_distance", 128}, {"decoder_start_token_id", 3}};
  const T5Case cases[] = {
      {"gated", {{"tie_word_embeddings", false}}, true, true},
      {"plain and tied", {{"feed_forward_proj", "relu"}, {"tie_word_embeddings", true}}, false},
      {"tied", {{"tie_word_embeddings", true}}},
      {"umt5",
       {{"model_type", "umt5"},
        {"architectures", {"UMT5ForConditionalGeneration"}},
        {"tie_word_embeddings", false}},
       true,
       true,
       true}};
  for (const T5Case& one : cases) {
    SCOPED_TRACE(one.name);
    Value more = common;
    more.update(one.config);
    const TinyPair made(TinyPair::Kind::kT5, more);
    const Tensors tensors = t5_tensors(made, one);
    const Value config = json::parse(read_file(made.folder() / "config.json"), "config.json");
    const Scratch scratch;
    save_folder(scratch / "hf", tensors, config);
    Tensors renamed;
    for (const auto& [name, tensor] : tensors)
      renamed.emplace(t5_name(name), Tensor::copy_of(tensor.any()));
    save_gguf(scratch / "m.gguf", renamed, t5_metadata("t5"));
    const headscope::Run expected = run_of(scratch / "hf", 25);
    const headscope::Run found = run_of(scratch / "m.gguf", 25);
    EXPECT_LE(apart(found.logits, expected.logits), kSame);
    EXPECT_LE(apart(found.encoder_last_hidden_state, expected.encoder_last_hidden_state), kSame);
    EXPECT_EQ(Model::load((scratch / "m.gguf").string()).generation().begin,
              std::vector<std::int32_t>{3});

    models::convert_to_gguf(scratch / "hf", scratch / "ours.gguf", DType::kF32);
    const Gguf file = Gguf::open(scratch / "ours.gguf");
    EXPECT_EQ(file.tensors().size(), renamed.size());
    for (const auto& [name, tensor] : renamed)
      EXPECT_EQ(file.at(name).shape, tensor.shape()) << name;
    const Value theirs = t5_metadata("t5");
    for (const auto& [key, value] : theirs.items()) {
      const Value& ours = file.metadata()[key];
      if (value.is_number_float())
        EXPECT_NEAR(ours.get<double>(), value.get<double>(), 1e-12) << key;
      else
        EXPECT_EQ(ours, value) << key;
    }
    EXPECT_LE(apart(run_of(scratch / "ours.gguf", 25).logits, expected.logits), kSame);
    models::convert_to_folder(scratch / "ours.gguf", scratch / "back", DType::kF32);
    EXPECT_LE(apart(run_of(scratch / "back", 25).logits, expected.logits), kSame);
  }
}

/// A copy of the words as output is what tied files of other programs hold; logits are scaled then.
TEST(GgufT5, OutputThatRepeatsTheWordsIsTied) {
  const T5Case one{"", {}};
  const TinyPair made(TinyPair::Kind::kT5,
                      {{"relative_attention_max_distance", 128},
                       {"decoder_start_token_id", 3},
                       {"tie_word_embeddings", true}});
  Tensors renamed;
  for (const auto& [name, tensor] : t5_tensors(made, one))
    renamed.emplace(t5_name(name), Tensor::copy_of(tensor.any()));
  renamed.emplace("output.weight", Tensor::copy_of(renamed.at("token_embd.weight").any()));
  const Scratch scratch;
  save_gguf(scratch / "m.gguf", renamed, t5_metadata("t5"));
  EXPECT_LE(apart(run_of(scratch / "m.gguf").logits, run_of(made.folder().path()).logits), kSame);
}

void expect_encoder_alone(const T5Case& one) {
  const TinyPair made(TinyPair::Kind::kT5, one.config);
  Tensors tensors = t5_tensors(made, one);
  std::erase_if(tensors, [](const auto& t) { return t.first.starts_with("decoder."); });
  const Value config = json::parse(read_file(made.folder() / "config.json"), "config.json");
  const Scratch scratch;
  save_folder(scratch / "hf", tensors, config);
  Tensors renamed;
  for (const auto& [name, tensor] : tensors)
    renamed.emplace(t5_name(name), Tensor::copy_of(tensor.any()));
  Value metadata = t5_metadata("t5encoder");
  metadata.erase("t5encoder.decoder_block_count");
  metadata.erase("t5encoder.decoder_start_token_id");
  save_gguf(scratch / "m.gguf", renamed, metadata);
  const Tensor expected = run_of(scratch / "hf").last_hidden_state;
  EXPECT_LE(apart(run_of(scratch / "m.gguf").last_hidden_state, expected), kSame);
  models::convert_to_gguf(scratch / "hf", scratch / "ours.gguf", DType::kF32);
  EXPECT_EQ(Gguf::open(scratch / "ours.gguf").metadata()["general.architecture"], "t5encoder");
  EXPECT_LE(apart(run_of(scratch / "ours.gguf").last_hidden_state, expected), kSame);
  models::convert_to_folder(scratch / "ours.gguf", scratch / "back", DType::kF32);
  EXPECT_LE(apart(run_of(scratch / "back").last_hidden_state, expected), kSame);
}

TEST(GgufT5, TheEncoderAloneIsAnArchitectureOfItsOwn) {
  Value config = {{"relative_attention_max_distance", 128}, {"architectures", {"T5EncoderModel"}}};
  expect_encoder_alone({"", config});
  config["model_type"] = "umt5";
  config["architectures"] = {"UMT5EncoderModel"};
  expect_encoder_alone({"", config, true, false, true});
}

TEST(GgufT5, WhatGgufCannotSayIsRefused) {
  const Scratch scratch;
  const std::pair<const char*, Value> kChanges[] = {
      {"relative_attention_max_distance", {{"relative_attention_max_distance", 64}}},
      {"feed_forward_proj", {{"feed_forward_proj", "gated-silu"}}},
      {"lm_head.weight", {{"tie_word_embeddings", false}, {"scale_decoder_outputs", false}}}};
  for (const auto& [word, change] : kChanges) {
    Value more = {{"relative_attention_max_distance", 128}};
    more.update(change);
    const TinyPair made(TinyPair::Kind::kT5, more);
    const std::string said = refusal_of(
        [&] { models::convert_to_gguf(made.folder().path(), scratch / "m.gguf", DType::kF32); });
    EXPECT_TRUE(said.find(word) != std::string::npos || said.find("logit_scale") != said.npos)
        << said;
    EXPECT_FALSE(fs::exists(scratch / "m.gguf"));
  }
}

}  // namespace
}  // namespace headscope
