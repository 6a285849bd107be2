#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/scratch.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

namespace headscope::test {

/// Encoder-decoders of random weights, each in a folder of its own: 16 wide, 2 encoder and 3 decoder layers.
class TinyPair {
 public:
  enum class Kind { kT5, kBart, kWhisper };
  struct Sizes {
    std::int64_t vocabulary = 30;
    std::int64_t sources = 8;   ///< positions of Whisper's encoder
    std::int64_t targets = 12;  ///< and of its decoder
  };

  explicit TinyPair(Kind kind, const json::Value& more = json::Value::object())
      : TinyPair(kind, more, {}) {}
  TinyPair(Kind kind, const json::Value& more, const Sizes& sizes) : sizes_(sizes) {
    json::Value config = kind == Kind::kT5 ? t5() : bart(kind);
    config.update(more);
    std::map<std::string, AnyView, std::less<>> views;
    for (const auto& [name, tensor] : tensors_) views.emplace(name, tensor.any());
    write_safetensors(scratch_ / "model.safetensors", views);
    write_file(scratch_ / "config.json", config.dump());
  }

  [[nodiscard]] Model load() const { return Model::load(scratch_.path().string()); }
  [[nodiscard]] const Scratch& folder() const { return scratch_; }

 private:
  json::Value t5() {
    put("shared.weight", {sizes_.vocabulary, 16});
    for (const std::string stack : {"encoder", "decoder"}) {
      const bool decodes = stack == "decoder";
      put(stack + ".final_layer_norm.weight", {16});
      for (int n = 0; n < (decodes ? 3 : 2); ++n) {
        const std::string block = stack + ".block." + std::to_string(n) + ".";
        std::string layer = block + "layer.0.";
        attention(layer + "SelfAttention.", 24);
        if (n == 0) put(layer + "SelfAttention.relative_attention_bias.weight", {8, 4});
        put(layer + "layer_norm.weight", {16});
        if (decodes) {
          layer = block + "layer.1.";
          attention(layer + "EncDecAttention.", 24);
          put(layer + "layer_norm.weight", {16});
        }
        layer = block + (decodes ? "layer.2." : "layer.1.");
        put(layer + "DenseReluDense.wi_0.weight", {20, 16});
        put(layer + "DenseReluDense.wi_1.weight", {20, 16});
        put(layer + "DenseReluDense.wo.weight", {16, 20});
        put(layer + "layer_norm.weight", {16});
      }
    }
    return {{"model_type", "t5"},
            {"architectures", {"T5ForConditionalGeneration"}},
            {"d_model", 16},
            {"d_kv", 6},
            {"d_ff", 20},
            {"num_heads", 4},
            {"num_layers", 2},
            {"num_decoder_layers", 3},
            {"vocab_size", sizes_.vocabulary},
            {"relative_attention_num_buckets", 8},
            {"relative_attention_max_distance", 12},
            {"feed_forward_proj", "gated-gelu"},
            {"decoder_start_token_id", 0},
            {"eos_token_id", 1}};
  }

  void attention(const std::string& prefix, std::int64_t inner) {
    for (const char* name : {"q", "k", "v"}) put(prefix + name + ".weight", {inner, 16});
    put(prefix + "o.weight", {16, inner});
  }

  void linear(const std::string& name, std::int64_t in, std::int64_t out) {
    put(name + ".weight", {out, in});
    put(name + ".bias", {out});
  }
  void norm(const std::string& name) {
    put(name + ".weight", {16});
    put(name + ".bias", {16});
  }

  json::Value bart(Kind kind) {
    const bool hears = kind == Kind::kWhisper;
    if (hears) {
      put("model.encoder.conv1.weight", {16, 5, 3});
      put("model.encoder.conv1.bias", {16});
      put("model.encoder.conv2.weight", {16, 16, 3});
      put("model.encoder.conv2.bias", {16});
      put("model.decoder.embed_tokens.weight", {sizes_.vocabulary, 16});
    } else {
      put("model.shared.weight", {sizes_.vocabulary, 16});
      put("final_logits_bias", {1, sizes_.vocabulary});
    }
    for (const std::string stack : {"encoder", "decoder"}) {
      const bool decodes = stack == "decoder";
      const std::string prefix = "model." + stack + ".";
      put(prefix + "embed_positions.weight",
          {hears ? (decodes ? sizes_.targets : sizes_.sources) : 22, 16});
      norm(prefix + (hears ? "layer_norm" : "layernorm_embedding"));
      for (int n = 0; n < (decodes ? 3 : 2); ++n) {
        const std::string layer = prefix + "layers." + std::to_string(n) + ".";
        for (const std::string attention : {"self_attn", "encoder_attn"}) {
          if (attention == "encoder_attn" && !decodes) continue;
          for (const char* name : {"q_proj", "v_proj", "out_proj"})
            linear(layer + attention + '.' + name, 16, 16);
          if (hears) {  // Whisper's keys have no bias
            put(layer + attention + ".k_proj.weight", {16, 16});
          } else {
            linear(layer + attention + ".k_proj", 16, 16);
          }
          norm(layer + attention + "_layer_norm");
        }
        linear(layer + "fc1", 16, 20);
        linear(layer + "fc2", 20, 16);
        norm(layer + "final_layer_norm");
      }
    }
    return {{"model_type", hears ? "whisper" : "bart"},
            {"architectures",
             {hears ? "WhisperForConditionalGeneration" : "BartForConditionalGeneration"}},
            {"d_model", 16},
            {"encoder_layers", 2},
            {"decoder_layers", 3},
            {"encoder_attention_heads", 2},
            {"decoder_attention_heads", 4},
            {"encoder_ffn_dim", 20},
            {"decoder_ffn_dim", 20},
            {"max_position_embeddings", 20},
            {"max_source_positions", sizes_.sources},
            {"max_target_positions", sizes_.targets},
            {"num_mel_bins", 5},
            {"vocab_size", sizes_.vocabulary},
            {"decoder_start_token_id", 2},
            {"pad_token_id", 1},
            {"eos_token_id", 2}};
  }

  void put(const std::string& name, Shape shape) {
    Tensor t(DType::kF32, std::move(shape));
    for (float& x : t.span<float>()) {
      state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
      x = static_cast<float>(static_cast<double>(state_ >> 40) / (1 << 24) * 1.2 - 0.6);
    }
    tensors_.emplace(name, std::move(t));
  }

  Sizes sizes_;
  Scratch scratch_;
  std::map<std::string, Tensor> tensors_;
  std::uint64_t state_ = 17;
};

}  // namespace headscope::test
