// What a Trainee keeps: what it saves is what Model::load runs, sequences do not meet, threads change nothing, bad
// input is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/scratch.h"
#include "headscope/model.h"
#include "headscope/threads.h"
#include "train/tiny.h"

namespace headscope::train {
namespace {

using testing::batch_for;
using testing::config_of;
using testing::integers;
using testing::text_batch;
using testing::Tiny;
using testing::tiny_models;

// Fresh biases are 0 and norms 1, which would hide what is done with them.
void shake(Trainee& trainee) {
  std::mt19937 generator(5);
  std::normal_distribution<float> normal(0.0F, 0.1F);
  for (Parameter& p : trainee.parameters()) {
    for (float& x : p.value.span<float>()) x += normal(generator);
  }
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  double most = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

// What Model gives for one sequence of a batch.
Tensor logits_of(const Model& model, const Batch& batch, std::int64_t s) {
  Tokens tokens;
  if (batch.pixels.empty()) {
    const auto cu = batch.cu_seqlens.span<std::int32_t>();
    const std::int32_t first = cu[static_cast<std::size_t>(s)];
    const std::int64_t T = cu[static_cast<std::size_t>(s + 1)] - first;
    tokens.ids = Tensor(DType::kI32, {1, T});
    std::copy_n(
        batch.ids.span<std::int32_t>().begin() + first, T, tokens.ids.span<std::int32_t>().begin());
    if (!batch.type_ids.empty()) {
      tokens.type_ids = Tensor(DType::kI32, {1, T});
      std::copy_n(batch.type_ids.span<std::int32_t>().begin() + first,
                  T,
                  tokens.type_ids.span<std::int32_t>().begin());
    }
  } else {
    Shape shape = batch.pixels.shape();
    const std::int64_t each = batch.pixels.size() / shape[0];
    shape[0] = 1;
    tokens.pixels = Tensor(DType::kF32, shape);
    std::copy_n(
        batch.pixels.span<float>().begin() + s * each, each, tokens.pixels.span<float>().begin());
  }
  return model.run(tokens).logits.clone();
}

TEST(Trainee, SavesWhatModelLoads) {
  for (const Tiny& tiny : tiny_models()) {
    SCOPED_TRACE(tiny.name);
    Trainee trainee = Trainee::fresh(tiny.config, 1);
    shake(trainee);
    const Batch batch = batch_for(trainee, 2);
    const Tensor expected = trainee.logits(batch);
    Scratch folder;
    trainee.save(folder.path());
    const Model model = Model::load(folder.path().string());
    if (tiny.name.ends_with("_masked")) continue;  // the model has no head that foretells patches
    const std::int64_t S = batch.pixels.empty() ? batch.cu_seqlens.dim(0) - 1 : batch.pixels.dim(0);
    std::size_t at = 0;
    for (std::int64_t s = 0; s < S; ++s) {
      const Tensor found = logits_of(model, batch, s);
      const auto own = expected.span<float>().subspan(at, found.span<float>().size());
      EXPECT_LT(largest_difference(found.span<float>(), own), 5e-5) << "sequence " << s;
      at += own.size();
    }
    EXPECT_EQ(at, expected.span<float>().size());
  }
}

// Also the encoder alone under a masked model: its last hidden state is what the trainee's decoder reads.
TEST(Trainee, LoadsWhatItSaved) {
  for (const Tiny& tiny : tiny_models()) {
    SCOPED_TRACE(tiny.name);
    Trainee trainee = Trainee::fresh(tiny.config, 1);
    shake(trainee);
    Scratch folder;
    trainee.save(folder.path());
    Trainee again = Trainee::load(folder.path());
    ASSERT_EQ(again.parameters().size(), trainee.parameters().size());
    for (std::size_t n = 0; n < trainee.parameters().size(); ++n) {
      const Parameter& a = trainee.parameters()[n];
      const Parameter& b = again.parameters()[n];
      ASSERT_EQ(a.name, b.name);
      ASSERT_EQ(a.decays, b.decays);
      ASSERT_EQ(a.value.shape(), b.value.shape());
      EXPECT_EQ(std::memcmp(a.value.raw(), b.value.raw(), a.value.bytes()), 0) << a.name;
    }
    trainee.save(folder.path(), DType::kF16);
    Trainee half = Trainee::load(folder.path());
    const Batch batch = batch_for(trainee, 2);
    const Tensor expected = trainee.logits(batch);
    const Tensor found = half.logits(batch);
    EXPECT_LT(largest_difference(found.span<float>(), expected.span<float>()), 0.1);
    EXPECT_EQ(folder.files(), 2) << "a temporary was left behind";
  }
}

TEST(Trainee, DrawsTheSameForASeedAlone) {
  const Trainee a = Trainee::fresh(config_of("llama"), 7);
  const Trainee b = Trainee::fresh(config_of("llama"), 7);
  const Trainee c = Trainee::fresh(config_of("llama"), 8);
  double sum = 0.0;
  double squares = 0.0;
  double n = 0.0;
  for (std::size_t i = 0; i < a.parameters().size(); ++i) {
    const Parameter& p = a.parameters()[i];
    EXPECT_EQ(std::memcmp(p.value.raw(), b.parameters()[i].value.raw(), p.value.bytes()), 0);
    if (!p.decays) continue;
    EXPECT_NE(std::memcmp(p.value.raw(), c.parameters()[i].value.raw(), p.value.bytes()), 0);
    if (p.name.find("embed_tokens") == std::string::npos) continue;
    for (const float x : p.value.span<float>()) {
      sum += static_cast<double>(x);
      squares += static_cast<double>(x) * static_cast<double>(x);
      n += 1.0;
    }
  }
  EXPECT_NEAR(sum / n, 0.0, 0.03);
  EXPECT_NEAR(std::sqrt(squares / n), 0.3, 0.02);
}

TEST(Trainee, SequencesOfABatchDoNotMeet) {
  for (const char* name : {"modernbert", "bert", "gpt2", "llama", "mistral", "vit"}) {
    SCOPED_TRACE(name);
    Trainee trainee = Trainee::fresh(config_of(name), 1);
    const std::vector<int> lengths{9, 1, 14};
    const bool sees = trainee.vocabulary() == 0;
    const Batch together =
        sees ? testing::picture_batch(trainee, 3, 4) : text_batch(trainee, lengths, 4);
    const Loss whole = trainee.step(together, {});
    std::vector<Tensor> gradients;
    for (Parameter& p : trainee.parameters()) {
      gradients.push_back(p.gradient.clone());
      std::ranges::fill(p.gradient.span<float>(), 0.0F);
    }
    Loss sum;
    std::int32_t first = 0;
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      Batch one;
      const auto part = [&](const Tensor& from, std::int64_t begin, std::int64_t n) {
        std::vector<std::int32_t> numbers(from.span<std::int32_t>().begin() + begin,
                                          from.span<std::int32_t>().begin() + begin + n);
        return integers(numbers);
      };
      if (sees) {
        one.pixels = Tensor(DType::kF32, {1, 2, 12, 12});
        std::copy_n(together.pixels.span<float>().begin() + static_cast<std::int64_t>(s) * 288,
                    288,
                    one.pixels.span<float>().begin());
        one.labels = part(together.labels, static_cast<std::int64_t>(s), 1);
      } else {
        one.ids = part(together.ids, first, lengths[s]);
        one.labels = part(together.labels, first, lengths[s]);
        if (!together.type_ids.empty()) one.type_ids = part(together.type_ids, first, lengths[s]);
        one.cu_seqlens = integers({0, lengths[s]});
        first += lengths[s];
      }
      const Loss loss = trainee.step(one, {});
      sum.sum_nats += loss.sum_nats;
      sum.count += loss.count;
      sum.correct += loss.correct;
    }
    EXPECT_NEAR(whole.sum_nats, sum.sum_nats, 1e-5 * whole.sum_nats);
    EXPECT_EQ(whole.count, sum.count);
    EXPECT_EQ(whole.correct, sum.correct);
    // A gradient that is zero but for rounding (of a key's bias) is as exact as the numbers it is summed from.
    const auto largest = [](const Tensor& t) {
      double most = 0.0;
      for (const float x : t.span<float>()) most = std::max(most, std::abs(static_cast<double>(x)));
      return most;
    };
    double all = 0.0;
    for (const Tensor& g : gradients) all = std::max(all, largest(g));
    for (std::size_t n = 0; n < gradients.size(); ++n) {
      EXPECT_LT(largest_difference(gradients[n].span<float>(),
                                   trainee.parameters()[n].gradient.span<float>()),
                1e-5 * largest(gradients[n]) + 1e-6 * std::max(1.0, all))
          << trainee.parameters()[n].name;
    }
  }
}

void expect_same_for_any_threads(std::vector<const char*> names, DType compute) {
  const int before = threads();
  for (const char* name : names) {
    SCOPED_TRACE(name);
    std::vector<Tensor> first;
    for (const int n : {1, 2, 5}) {
      set_threads(n);
      Trainee trainee = Trainee::fresh(config_of(name), 1);
      AdamW adamw(trainee.parameters());
      for (unsigned step = 0; step < 5; ++step) {
        // Larger than one group of rows, so that there is something to share out.
        const Batch batch = trainee.vocabulary() == 0
                                ? testing::picture_batch(trainee, 20, step)
                                : text_batch(trainee, {24, 3, 20, 24, 24, 24, 11, 24, 24}, step);
        trainee.step(batch,
                     {.scale = 0.01, .dropout = 0.1F, .compute = compute, .seed = 3, .step = step});
        adamw.step(trainee.parameters(), 1e-2);
      }
      for (std::size_t i = 0; i < trainee.parameters().size(); ++i) {
        const Tensor& value = trainee.parameters()[i].value;
        if (n == 1)
          first.push_back(value.clone());
        else
          ASSERT_EQ(std::memcmp(first[i].raw(), value.raw(), value.bytes()), 0)
              << trainee.parameters()[i].name << " with " << n << " threads";
      }
    }
  }
  set_threads(before);
}

TEST(Trainee, ThreadsChangeNoBit) {
  expect_same_for_any_threads(
      {"modernbert", "gpt2", "llama", "bert_classes", "vit", "videomae_masked"}, DType::kF32);
}

TEST(Trainee, ThreadsChangeNoBitOfBf16) {
  expect_same_for_any_threads({"modernbert", "gpt2", "vit"}, DType::kBF16);
}

// bf16 keeps 8 binary digits of each factor: gradients keep their direction and their length to a few per cent.
TEST(Trainee, Bf16StaysNearF32) {
  for (const auto& model : testing::tiny_models()) {
    SCOPED_TRACE(model.name);
    Trainee exact = Trainee::fresh(model.config, 1);
    Trainee near = Trainee::fresh(model.config, 1);
    const Batch batch = testing::batch_for(exact, 2);
    const Loss a = exact.step(batch, {.scale = 0.01});
    const Loss b = near.step(batch, {.scale = 0.01, .compute = DType::kBF16});
    EXPECT_NEAR(a.sum_nats, b.sum_nats, 0.05 * (1.0 + std::abs(a.sum_nats)));
    EXPECT_NE(a.sum_nats, b.sum_nats);
    double ab = 0.0;
    double aa = 0.0;
    double bb = 0.0;
    for (std::size_t i = 0; i < exact.parameters().size(); ++i) {
      const auto x = exact.parameters()[i].gradient.span<float>();
      const auto y = near.parameters()[i].gradient.span<float>();
      for (std::size_t k = 0; k < x.size(); ++k) {
        ab += static_cast<double>(x[k]) * static_cast<double>(y[k]);
        aa += static_cast<double>(x[k]) * static_cast<double>(x[k]);
        bb += static_cast<double>(y[k]) * static_cast<double>(y[k]);
      }
    }
    EXPECT_GT(ab / std::sqrt(aa * bb), 0.99);
    EXPECT_NEAR(std::sqrt(bb / aa), 1.0, 0.1);
  }
}

TEST(Trainee, BuffersStayAsTheyAre) {
  Trainee trainee = Trainee::fresh(config_of("modernbert"), 1);
  const std::vector<int> long_ones{40, 30, 50};
  trainee.step(text_batch(trainee, long_ones, 1), {});
  trainee.step(text_batch(trainee, long_ones, 1), {});
  const std::size_t bytes = trainee.buffer_bytes();
  for (unsigned n = 0; n < 6; ++n)
    trainee.step(text_batch(trainee, n % 2 == 0 ? std::vector<int>{7, 30} : long_ones, n), {});
  EXPECT_LE(trainee.buffer_bytes(), bytes + bytes / 4);
  const std::size_t settled = trainee.buffer_bytes();
  trainee.step(text_batch(trainee, long_ones, 9), {});
  EXPECT_EQ(trainee.buffer_bytes(), settled);
}

TEST(Trainee, EvaluationChangesNoGradient) {
  Trainee trainee = Trainee::fresh(config_of("llama"), 1);
  const Batch batch = batch_for(trainee, 1);
  const Loss trained = trainee.step(batch, {});
  std::vector<Tensor> gradients;
  for (const Parameter& p : trainee.parameters()) gradients.push_back(p.gradient.clone());
  const Loss found = trainee.step(batch, {.train = false, .dropout = 0.5F});
  EXPECT_EQ(found.sum_nats, trained.sum_nats);
  EXPECT_EQ(found.correct, trained.correct);
  for (std::size_t n = 0; n < gradients.size(); ++n) {
    EXPECT_EQ(std::memcmp(
                  gradients[n].raw(), trainee.parameters()[n].gradient.raw(), gradients[n].bytes()),
              0);
  }
}

TEST(Trainee, NothingAskedIsNoLoss) {
  Trainee trainee = Trainee::fresh(config_of("modernbert"), 1);
  Batch batch = batch_for(trainee, 1);
  std::ranges::fill(batch.labels.span<std::int32_t>(), -100);
  const Loss loss = trainee.step(batch, {});
  EXPECT_EQ(loss.count, 0);
  EXPECT_EQ(loss.sum_nats, 0.0);
  for (const Parameter& p : trainee.parameters()) {
    for (const float g : p.gradient.span<float>()) ASSERT_EQ(g, 0.0F);
  }
}

TEST(Trainee, RefusesBadBatches) {
  Trainee trainee = Trainee::fresh(config_of("gpt2"), 1);
  const auto fails = [&](ErrorCode code, auto&& spoil) {
    Batch batch = batch_for(trainee, 1);
    spoil(batch);
    try {
      trainee.step(batch, {});
      ADD_FAILURE() << "taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
    }
  };
  fails(ErrorCode::kShape, [](Batch& b) { b.ids = Tensor(); });
  fails(ErrorCode::kRange, [](Batch& b) { b.ids.span<std::int32_t>()[3] = 40; });
  fails(ErrorCode::kRange, [](Batch& b) { b.ids.span<std::int32_t>()[3] = -1; });
  fails(ErrorCode::kRange, [](Batch& b) { b.labels.span<std::int32_t>()[3] = 40; });
  fails(ErrorCode::kRange, [](Batch& b) { b.labels.span<std::int32_t>()[3] = -7; });
  fails(ErrorCode::kShape, [](Batch& b) { b.labels = integers({1}); });
  fails(ErrorCode::kDType, [](Batch& b) { b.labels = Tensor(DType::kI64, {29}); });
  fails(ErrorCode::kShape, [](Batch& b) { b.cu_seqlens = integers({0, 9}); });
  fails(ErrorCode::kRange, [](Batch& b) { b.cu_seqlens = integers({0, 9, 5, 29}); });
  fails(ErrorCode::kRange, [](Batch& b) { b.cu_seqlens = integers({0, 29}); });
  Trainee sees = Trainee::fresh(config_of("vit"), 1);
  Batch batch = testing::picture_batch(sees, 2, 1);
  batch.pixels = Tensor::zeros(DType::kF32, {2, 2, 12, 13});
  EXPECT_THROW(sees.step(batch, {}), Error);
  EXPECT_THROW(trainee.step(batch_for(trainee, 1), {.dropout = 1.0F}), Error);
}

TEST(Trainee, NamesWhatItCannotTrain) {
  const auto message = [](const std::string& config) -> std::string {
    try {
      (void)Trainee::fresh(config, 1);
    } catch (const Error& e) {
      return e.what();
    }
    return "taken";
  };
  EXPECT_NE(message(R"({"model_type": "llama", "architectures": ["LlamaModel"], "hidden_size": 16,
      "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9})")
                .find("ForCausalLM"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"],
      "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8,
      "num_key_value_heads": 2, "intermediate_size": 8, "vocab_size": 9})")
                .find("norms of queries and keys"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "gpt2", "n_layer": "many"})").find("n_"), std::string::npos);
  EXPECT_NE(message("{").find("config.json"), std::string::npos);
}

}  // namespace
}  // namespace headscope::train
