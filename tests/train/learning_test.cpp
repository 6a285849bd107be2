// Networks learn: small proofs that everything together goes downhill.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "train/tiny.h"

namespace headscope::train {
namespace {

using testing::integers;

double mean(const Loss& loss) { return loss.sum_nats / static_cast<double>(loss.count); }

// Some steps at a rate that warms up and, in the second half, falls; returns the mean loss of the last one.
template <typename F>
double learn(Trainee& trainee, int steps, double rate, F&& batch_at) {
  AdamW adamw(trainee.parameters(), {.beta2 = 0.98, .weight_decay = 0.01, .clip = 1.0});
  double last = 0.0;
  for (int n = 0; n < steps; ++n) {
    const Batch batch = batch_at(n);
    std::int64_t count = 0;
    if (!batch.labels.empty())
      count =
          std::ranges::count_if(batch.labels.span<std::int32_t>(), [](auto x) { return x >= 0; });
    else
      count = std::ranges::count(batch.mask.span<std::uint8_t>(), 1);
    last = mean(trainee.step(batch, {.scale = 1.0 / static_cast<double>(count)}));
    adamw.step(
        trainee.parameters(),
        rate * std::min({1.0, (n + 1) / 20.0, 2.0 * (steps - n) / static_cast<double>(steps)}));
  }
  return last;
}

// Eight tokens in random order come twice: whoever looks at what stood behind the same token knows the second half.
// Guessing gives ln 24 = 3.2 nats, and whoever knows which tokens there are still ln 6 = 1.8 or more.
TEST(Learning, LlamaCopiesWhatItRead) {
  Trainee trainee = Trainee::fresh(
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
          "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2,
          "intermediate_size": 64, "vocab_size": 24, "max_position_embeddings": 32,
          "initializer_range": 0.1})",
      1);
  std::mt19937 generator(1);
  const auto repeated = [&](int) {
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> labels;
    std::vector<std::int32_t> cu{0};
    for (int s = 0; s < 24; ++s) {
      std::vector<std::int32_t> half(24);
      std::iota(half.begin(), half.end(), 0);
      std::ranges::shuffle(half, generator);
      half.resize(8);
      std::vector<std::int32_t> both = half;
      both.insert(both.end(), half.begin(), half.end());
      for (std::size_t i = 0; i < both.size(); ++i) {
        ids.push_back(both[i]);
        const bool known = i >= half.size() && i + 1 < both.size();
        labels.push_back(known ? both[i + 1] : -100);
      }
      cu.push_back(static_cast<std::int32_t>(ids.size()));
    }
    Batch batch;
    batch.ids = integers(ids);
    batch.labels = integers(labels);
    batch.cu_seqlens = integers(cu);
    return batch;
  };
  learn(trainee, 400, 1e-2, repeated);
  const Loss unseen = trainee.step(repeated(0), {.train = false});
  EXPECT_LT(mean(unseen), 1.0);
  EXPECT_GT(unseen.correct, unseen.count * 8 / 10);
}

TEST(Learning, ModernBertKeepsASentence) {
  Trainee trainee = Trainee::fresh(testing::config_of("modernbert"), 1);
  const std::vector<std::int32_t> sentence{7, 3, 22, 15, 9, 31, 2, 17, 28, 11, 5, 36};
  const auto hidden = [&](int n) {
    std::vector<std::int32_t> ids = sentence;
    std::vector<std::int32_t> labels(sentence.size(), -100);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if ((i + static_cast<std::size_t>(n)) % 4 != 0) continue;
      labels[i] = ids[i];
      ids[i] = 0;
    }
    Batch batch;
    batch.ids = integers(ids);
    batch.labels = integers(labels);
    batch.cu_seqlens = integers({0, 12});
    return batch;
  };
  learn(trainee, 120, 3e-3, hidden);
  for (int n = 0; n < 4; ++n) {
    const Loss loss = trainee.step(hidden(n), {.train = false});
    EXPECT_LT(mean(loss), 0.05);
    EXPECT_EQ(loss.correct, loss.count);
  }
}

// Bright on the left or on the right, under noise.
TEST(Learning, VitTellsTwoPicturesApart) {
  std::string config = testing::config_of("vit");
  Trainee trainee = Trainee::fresh(config, 1);
  const auto pictures = [&](int n) {
    Batch batch = testing::picture_batch(trainee, 16, static_cast<unsigned>(n));
    for (std::size_t s = 0; s < 16; ++s) {
      const std::int32_t label = static_cast<std::int32_t>(s % 2);
      batch.labels.span<std::int32_t>()[s] = label;
      for (std::size_t i = 0; i < 288; ++i) {
        const bool left = i % 12 < 6;
        if (left == (label == 0)) batch.pixels.span<float>()[s * 288 + i] += 0.7F;
      }
    }
    return batch;
  };
  learn(trainee, 60, 2e-3, pictures);
  const Loss unseen = trainee.step(pictures(1000), {.train = false});
  EXPECT_GE(unseen.correct, 15);
  EXPECT_LT(mean(unseen), 0.3);
}

// Each video has one brightness, which the patches that are seen tell of those that are hidden: the variance of a
// hidden patch is 1, of its noise 0.01.
TEST(Learning, VideoMaeForetellsHiddenPatches) {
  Trainee trainee = Trainee::fresh(testing::config_of("videomae_masked"), 1);
  const auto videos = [&](int n) {
    Batch batch = testing::picture_batch(trainee, 16, static_cast<unsigned>(n));
    std::mt19937 generator(static_cast<unsigned>(n));
    std::normal_distribution<float> normal;
    for (std::size_t s = 0; s < 16; ++s) {
      const float bright = normal(generator);
      for (float& x : batch.pixels.span<float>().subspan(s * 1152, 1152)) x = bright + 0.1F * x;
      for (float& x : batch.targets.span<float>().subspan(s * 1152, 1152)) x = bright + 0.1F * x;
    }
    return batch;
  };
  learn(trainee, 150, 3e-3, videos);
  EXPECT_LT(mean(trainee.step(videos(1000), {.train = false})), 0.15);
}

}  // namespace
}  // namespace headscope::train
