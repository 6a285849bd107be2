#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "headscope/train.h"

/// Small networks of every kind that training has parts for, and batches of mixed lengths for them.
namespace headscope::train::testing {

struct Tiny {
  std::string name;
  std::string config;
};

inline std::vector<Tiny> tiny_models() {
  const std::string modernbert =
      R"("model_type": "modernbert", "hidden_size": 32, "num_attention_heads": 4,
         "num_hidden_layers": 3, "intermediate_size": 24, "vocab_size": 40, "local_attention": 6,
         "max_position_embeddings": 64, "initializer_range": 0.3)";
  const std::string bert =
      R"("model_type": "bert", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2,
         "intermediate_size": 28, "vocab_size": 40, "max_position_embeddings": 24,
         "type_vocab_size": 3, "initializer_range": 0.3)";
  const std::string llama =
      R"("hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
         "num_hidden_layers": 2, "intermediate_size": 24, "vocab_size": 40, "rms_norm_eps": 1e-5,
         "max_position_embeddings": 64, "initializer_range": 0.3)";
  const std::string vit =
      R"("hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "image_size": 12,
         "intermediate_size": 28, "patch_size": 4, "num_channels": 2, "initializer_range": 0.3)";
  return {
      {"modernbert", R"({"architectures": ["ModernBertForMaskedLM"], )" + modernbert + "}"},
      {"modernbert_biased",
       R"({"architectures": ["ModernBertForMaskedLM"], "norm_bias": true, "mlp_bias": true,
           "attention_bias": true, "classifier_bias": true, )" +
           modernbert + "}"},
      {"modernbert_classes",
       R"({"architectures": ["ModernBertForSequenceClassification"], "num_labels": 5,
           "classifier_pooling": "mean", )" +
           modernbert + "}"},
      {"bert", R"({"architectures": ["BertForMaskedLM"], )" + bert + "}"},
      {"bert_classes",
       R"({"architectures": ["BertForSequenceClassification"], "num_labels": 3, )" + bert + "}"},
      {"gpt2",
       R"({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 32, "n_head": 4,
           "n_layer": 2, "n_positions": 24, "vocab_size": 40, "initializer_range": 0.3})"},
      {"llama",
       R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
           "tie_word_embeddings": false, )" +
           llama + "}"},
      {"llama_tied_biased",
       R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "head_dim": 16,
           "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true, )" +
           llama + "}"},
      {"mistral",
       R"({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 5, )" +
           llama + "}"},
      {"qwen2", R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", )" + llama + "}"},
      {"vit",
       R"({"architectures": ["ViTForImageClassification"], "model_type": "vit", "num_labels": 4, )" +
           vit + "}"},
      {"vit_masked", R"({"architectures": ["ViTModel"], "model_type": "vit", )" + vit + "}"},
      {"videomae_masked",
       R"({"architectures": ["VideoMAEModel"], "model_type": "videomae", "num_frames": 4,
           "tubelet_size": 2, "use_mean_pooling": false, )" +
           vit + "}"},
      {"videomae_classes",
       R"({"architectures": ["VideoMAEForVideoClassification"], "model_type": "videomae",
           "num_frames": 4, "tubelet_size": 2, "num_labels": 3, )" +
           vit + "}"},
  };
}

inline const std::string& config_of(const std::string& name) {
  static const std::vector<Tiny> all = tiny_models();
  for (const Tiny& tiny : all) {
    if (tiny.name == name) return tiny.config;
  }
  throw Error(ErrorCode::kNotFound, name);
}

inline Tensor integers(const std::vector<std::int32_t>& from) {
  Tensor t(DType::kI32, {static_cast<std::int64_t>(from.size())});
  std::copy(from.begin(), from.end(), t.span<std::int32_t>().begin());
  return t;
}

/// Sequences of the given lengths. A third of the labels of tokens is not asked for.
inline Batch text_batch(const Trainee& trainee, const std::vector<int>& lengths, unsigned seed) {
  std::mt19937 generator(seed);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(n));
  };
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> types;
  std::vector<std::int32_t> cu{0};
  std::vector<std::int32_t> labels;
  for (const int length : lengths) {
    for (int i = 0; i < length; ++i) {
      ids.push_back(below(trainee.vocabulary()));
      types.push_back(below(3));
      if (trainee.classes() == 0)
        labels.push_back(below(3) == 0 ? -100 : below(trainee.vocabulary()));
    }
    if (trainee.classes() > 0) labels.push_back(below(trainee.classes()));
    cu.push_back(static_cast<std::int32_t>(ids.size()));
  }
  Batch batch;
  batch.ids = integers(ids);
  batch.cu_seqlens = integers(cu);
  batch.labels = integers(labels);
  if (trainee.family() == "bert") batch.type_ids = integers(types);
  return batch;
}

inline Tensor noise(Shape shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor t(DType::kF32, std::move(shape));
  for (float& x : t.span<float>()) x = normal(generator);
  return t;
}

/// Pictures of 2 x 12 x 12, videos of 4 frames; half of the patches hidden.
inline Batch picture_batch(const Trainee& trainee, std::int64_t S, unsigned seed) {
  const bool video = trainee.family() == "videomae";
  Batch batch;
  batch.pixels = noise(video ? Shape{S, 4, 2, 12, 12} : Shape{S, 2, 12, 12}, seed);
  std::mt19937 generator(seed + 1);
  if (trainee.classes() > 0) {
    std::vector<std::int32_t> labels;
    for (std::int64_t s = 0; s < S; ++s)
      labels.push_back(
          static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(trainee.classes())));
    batch.labels = integers(labels);
    return batch;
  }
  const std::int64_t patches = S * (video ? 18 : 9);
  batch.mask = Tensor(DType::kU8, {patches});
  for (std::uint8_t& hidden : batch.mask.span<std::uint8_t>()) hidden = generator() % 2 == 0;
  batch.targets = noise({patches, video ? 64 : 32}, seed + 2);
  return batch;
}

inline Batch batch_for(const Trainee& trainee, unsigned seed) {
  if (trainee.vocabulary() == 0) return picture_batch(trainee, 3, seed);
  return text_batch(trainee, {9, 1, 14, 5}, seed);
}

}  // namespace headscope::train::testing
