#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "formats/files.h"
#include "formats/scratch.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

namespace headscope::test {

/// A Llama of random weights in a folder of its own: 2 layers, 4 heads on 2, vocabulary 40, 64 positions.
class TinyDecoder {
 public:
  TinyDecoder() {
    files::AtomicFile config(scratch_ / "config.json");
    config.append(
        R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 24, "vocab_size": 40, "max_position_embeddings": 64,
            "rms_norm_eps": 1e-6, "eos_token_id": [-1], "tie_word_embeddings": false})");
    config.commit();
    put("model.embed_tokens.weight", {40, 16});
    put("model.norm.weight", {16});
    put("lm_head.weight", {40, 16});
    for (int n = 0; n < 2; ++n) {
      const std::string layer = "model.layers." + std::to_string(n) + ".";
      put(layer + "input_layernorm.weight", {16});
      put(layer + "post_attention_layernorm.weight", {16});
      put(layer + "self_attn.q_proj.weight", {16, 16});
      put(layer + "self_attn.k_proj.weight", {8, 16});
      put(layer + "self_attn.v_proj.weight", {8, 16});
      put(layer + "self_attn.o_proj.weight", {16, 16});
      put(layer + "mlp.gate_proj.weight", {24, 16});
      put(layer + "mlp.up_proj.weight", {24, 16});
      put(layer + "mlp.down_proj.weight", {16, 24});
    }
    std::map<std::string, AnyView, std::less<>> views;
    for (const auto& [name, tensor] : tensors_) views.emplace(name, tensor.any());
    write_safetensors(scratch_ / "model.safetensors", views);
  }

  [[nodiscard]] Model load() const { return Model::load(scratch_.path().string()); }
  [[nodiscard]] const Scratch& folder() const { return scratch_; }

 private:
  void put(const std::string& name, Shape shape) {
    Tensor t(DType::kF32, std::move(shape));
    for (float& x : t.span<float>()) {
      state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
      x = static_cast<float>(static_cast<double>(state_ >> 40) / (1 << 24) * 1.6 - 0.8);
    }
    tensors_.emplace(name, std::move(t));
  }

  Scratch scratch_;
  std::map<std::string, Tensor> tensors_;
  std::uint64_t state_ = 42;
};

}  // namespace headscope::test
