#include "headscope/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>

#include "headscope/error.h"

namespace headscope {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Transformers' processors and warpers, step by step over sorted lists, in double.
std::vector<double> reference(std::vector<double> scores,
                              const SamplingOptions& o,
                              const std::vector<std::int32_t>& prompt,
                              const std::vector<std::int32_t>& answer) {
  const auto softmax = [](const std::vector<double>& s) {
    const double top = *std::max_element(s.begin(), s.end());
    std::vector<double> p;
    for (const double x : s) p.push_back(std::exp(x - top));
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
    return p;
  };
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const auto in_prompt = std::count(prompt.begin(), prompt.end(), id);
    const auto in_answer = std::count(answer.begin(), answer.end(), id);
    if (in_prompt + in_answer > 0) {
      scores[i] = scores[i] < 0 ? scores[i] * static_cast<double>(o.repetition_penalty)
                                : scores[i] / static_cast<double>(o.repetition_penalty);
    }
    scores[i] -= static_cast<double>(o.frequency_penalty) * static_cast<double>(in_answer);
    if (in_answer > 0) scores[i] -= static_cast<double>(o.presence_penalty);
    scores[i] /= static_cast<double>(o.temperature);
  }
  std::vector<std::size_t> order(scores.size());  // smallest first; of equals the largest id
  const auto sort = [&] {
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return scores[a] != scores[b] ? scores[a] < scores[b] : a > b;
    });
  };
  if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < scores.size()) {
    sort();
    const double least = scores[order[order.size() - static_cast<std::size_t>(o.top_k)]];
    for (double& s : scores) {
      if (s < least) s = -kInfinity;
    }
  }
  if (o.top_p < 1.0F) {
    sort();
    const std::vector<double> p = softmax(scores);
    double sum = 0.0;
    for (std::size_t i = 0; i + 1 < order.size(); ++i) {
      sum += p[order[i]];
      if (sum <= 1.0 - static_cast<double>(o.top_p)) scores[order[i]] = -kInfinity;
    }
  }
  if (o.min_p > 0.0F) {
    const std::vector<double> p = softmax(scores);
    const double least = static_cast<double>(o.min_p) * *std::max_element(p.begin(), p.end());
    for (std::size_t i = 0; i < p.size(); ++i) {
      if (p[i] < least) scores[i] = -kInfinity;
    }
  }
  return softmax(scores);
}

TEST(Sampler, CandidatesAreThoseOfTheReferenceForAnyOptions) {
  std::mt19937_64 random(7);
  const auto uniform = [&](double low, double high) {
    return low + (high - low) * static_cast<double>(random() >> 11) * 0x1p-53;
  };
  for (int round = 0; round < 400; ++round) {
    const std::size_t n = 1 + random() % 200;
    std::vector<float> logits(n);
    for (float& x : logits) x = static_cast<float>(uniform(-6.0, 6.0));
    if (round % 5 == 0) {  // ties
      for (float& x : logits) x = std::round(x);
    }
    if (round % 7 == 0 && n > 3) logits[random() % n] = -std::numeric_limits<float>::infinity();
    SamplingOptions o;
    o.temperature = static_cast<float>(uniform(0.2, 2.5));
    if (random() % 2 == 0) o.top_k = static_cast<std::int32_t>(random() % (n + 3));
    if (random() % 2 == 0) o.top_p = static_cast<float>(uniform(0.05, 1.0));
    if (random() % 2 == 0) o.min_p = static_cast<float>(uniform(0.0, 0.5));
    if (random() % 2 == 0) o.repetition_penalty = static_cast<float>(uniform(0.7, 1.6));
    if (random() % 2 == 0) o.frequency_penalty = static_cast<float>(uniform(-0.5, 1.0));
    if (random() % 2 == 0) o.presence_penalty = static_cast<float>(uniform(-0.5, 1.0));
    std::vector<std::int32_t> prompt(random() % 9);
    std::vector<std::int32_t> answer(random() % 9);
    for (std::int32_t& id : prompt) id = static_cast<std::int32_t>(random() % n);
    for (std::int32_t& id : answer) id = static_cast<std::int32_t>(random() % n);

    Sampler sampler(o, prompt);
    for (const std::int32_t id : answer) sampler.accept(id);
    const auto expected =
        reference(std::vector<double>(logits.begin(), logits.end()), o, prompt, answer);
    std::vector<double> found(n, 0.0);
    double last = 2.0;
    double sum = 0.0;
    for (const Candidate& c : sampler.candidates(logits)) {
      EXPECT_LE(c.probability, last);
      last = c.probability;
      sum += c.probability;
      found[static_cast<std::size_t>(c.id)] = c.probability;
    }
    EXPECT_NEAR(sum, 1.0, 1e-9);
    // A token at the very edge of a step may fall on either side by rounding; all else is equal.
    int off = 0;
    for (std::size_t i = 0; i < n; ++i) off += std::abs(found[i] - expected[i]) > 1e-5 ? 1 : 0;
    EXPECT_EQ(off, 0) << "round " << round << ", " << n << " tokens, top_k " << o.top_k
                      << ", top_p " << o.top_p << ", min_p " << o.min_p;
  }
}

TEST(Sampler, DrawsAsOftenAsTheDistributionSays) {
  // Pearson's chi-square over the candidates; 40 draws of a statistic with mean n-1.
  std::mt19937_64 random(11);
  std::vector<float> logits(50);
  for (float& x : logits) x = static_cast<float>(random() % 1000) / 250.0F;
  for (const auto& [top_k, top_p, min_p] :
       {std::tuple{0, 1.0F, 0.0F}, {12, 1.0F, 0.0F}, {0, 0.8F, 0.0F}, {30, 0.9F, 0.1F}}) {
    SamplingOptions o;
    o.temperature = 1.3F;
    o.top_k = top_k;
    o.top_p = top_p;
    o.min_p = min_p;
    o.seed = 123;
    Sampler sampler(o);
    const std::vector<Candidate> candidates = sampler.candidates(logits);
    constexpr int kDraws = 40'000;
    std::vector<int> count(logits.size(), 0);
    for (int i = 0; i < kDraws; ++i) ++count[static_cast<std::size_t>(sampler.next(logits))];
    double statistic = 0.0;
    int drawn = 0;
    for (const Candidate& c : candidates) {
      const double expected = c.probability * kDraws;
      const int found = count[static_cast<std::size_t>(c.id)];
      statistic += (found - expected) * (found - expected) / expected;
      drawn += found;
    }
    EXPECT_EQ(drawn, kDraws) << "something outside the candidates was drawn";
    const double freedom = static_cast<double>(candidates.size()) - 1.0;
    EXPECT_LT(std::abs(statistic - freedom), 4.0 * std::sqrt(2.0 * freedom));
  }
}

TEST(Sampler, EqualSeedsDrawEquallyAndOthersDoNot) {
  const std::vector<float> logits(1000, 0.0F);
  const auto draw = [&](std::uint64_t seed) {
    SamplingOptions o;
    o.temperature = 1.0F;
    o.seed = seed;
    Sampler sampler(o);
    std::vector<std::int32_t> out;
    for (int i = 0; i < 20; ++i) out.push_back(sampler.next(logits));
    return out;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
  EXPECT_NE(draw(0), draw(1));
  // Fixed for all machines and versions.
  const std::vector<std::int32_t> first = draw(42);
  EXPECT_EQ(std::vector<std::int32_t>(first.begin(), first.begin() + 5),
            (std::vector<std::int32_t>{697, 343, 955, 486, 67}));
}

TEST(Sampler, GreedyTakesTheLargestAndOfEqualsTheSmallestId) {
  Sampler greedy({});
  EXPECT_EQ(greedy.next(std::vector<float>{1.0F, 3.0F, 3.0F, 2.0F}), 1);
  SamplingOptions o;
  o.repetition_penalty = 2.0F;
  Sampler penalised(o, std::vector<std::int32_t>{1});
  EXPECT_EQ(penalised.next(std::vector<float>{1.0F, 3.0F, 2.0F}), 2);
  EXPECT_EQ(penalised.next(std::vector<float>{1.2F, 3.0F, 2.0F}), 1);
}

TEST(Sampler, TopKKeepsThoseEqualToTheLast) {
  SamplingOptions o;
  o.temperature = 1.0F;
  o.top_k = 2;
  const Sampler sampler(o);
  EXPECT_EQ(sampler.candidates(std::vector<float>{1.0F, 2.0F, 1.0F, 0.0F}).size(), 3U);
}

TEST(Sampler, OneTokenAlwaysStays) {
  SamplingOptions o;
  o.temperature = 5.0F;
  o.top_p = 1e-6F;
  o.min_p = 1.0F;
  Sampler sampler(o);
  EXPECT_EQ(sampler.next(std::vector<float>{0.0F, 0.1F, -9.0F}), 1);
  const float never = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(sampler.next(std::vector<float>{never, never, 0.0F}), 2);
}

TEST(Sampler, BadLogitsAndOptionsAreNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  SamplingOptions o;
  for (const float temperature : {0.0F, 1.0F}) {
    o.temperature = temperature;
    Sampler sampler(o);
    for (const std::vector<float>& logits :
         {std::vector<float>{0.0F, nan}, {1.0F, infinity}, {-infinity, -infinity}, {}}) {
      try {
        (void)sampler.next(logits);
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInput);
        if (logits.size() == 2 && logits[0] >= 0.0F) {
          EXPECT_NE(std::string(error.what()).find("token 1"), std::string::npos) << error.what();
        }
      }
    }
  }
  const auto refused = [](auto change) {
    SamplingOptions bad;
    change(bad);
    EXPECT_THROW(Sampler{bad}, Error);
  };
  refused([](SamplingOptions& b) { b.temperature = -1.0F; });
  refused([&](SamplingOptions& b) { b.temperature = nan; });
  refused([](SamplingOptions& b) { b.top_k = -1; });
  refused([](SamplingOptions& b) { b.top_p = 0.0F; });
  refused([](SamplingOptions& b) { b.top_p = 1.5F; });
  refused([](SamplingOptions& b) { b.min_p = -0.1F; });
  refused([](SamplingOptions& b) { b.repetition_penalty = 0.0F; });
}

TEST(StopText, HoldsBackOnlyWhatMayBecomeAStopString) {
  StopText text({"</s>", "\n\nUser:"});
  EXPECT_EQ(text.push("Hello <"), "Hello ");
  EXPECT_EQ(text.push("b> \n"), "<b> ");
  EXPECT_EQ(text.push("\n"), "");
  EXPECT_EQ(text.push("\nUse"), "\n");
  EXPECT_FALSE(text.stopped());
  EXPECT_EQ(text.push("r: more"), "");
  EXPECT_TRUE(text.stopped());
  EXPECT_EQ(text.found(), "\n\nUser:");
  EXPECT_EQ(text.push("x"), "");
  EXPECT_EQ(text.finish(), "");
}

TEST(StopText, NeverSplitsACharacter) {
  const std::string whole = "Привет 🙂!";
  StopText text({"стоп"});
  std::string out;
  for (const char byte : whole) {
    const std::string sure = text.push(std::string(1, byte));
    EXPECT_TRUE(sure.empty() || (static_cast<unsigned char>(sure[0]) & 0xC0) != 0x80);
    out += sure;
  }
  EXPECT_EQ(out + text.finish(), whole);
}

TEST(StopText, AnyCutsGiveTheTextBeforeTheFirstStop) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> stops(1 + random() % 3);
    for (std::string& stop : stops) {
      stop.resize(1 + random() % 4);
      for (char& c : stop) c = "ab"[random() % 2];
    }
    std::string whole(random() % 12, ' ');
    for (char& c : whole) c = "abc"[random() % 3];
    std::size_t first_end = std::string::npos;
    std::size_t begin = whole.size();
    for (const std::string& stop : stops) {
      const std::size_t at = whole.find(stop);
      if (at == std::string::npos) continue;
      const std::size_t end = at + stop.size();
      if (end < first_end || (end == first_end && at < begin)) {
        first_end = end;
        begin = at;
      }
    }
    StopText text(stops);
    std::string out;
    for (std::size_t i = 0; i < whole.size();) {
      const std::size_t n = 1 + random() % 3;
      out += text.push(std::string_view(whole).substr(i, n));
      i += n;
    }
    EXPECT_EQ(text.stopped(), first_end != std::string::npos);
    out += text.finish();
    EXPECT_EQ(out, whole.substr(0, begin)) << whole;
  }
}

TEST(StopText, RefusesStringsThatCannotBeFound) {
  EXPECT_THROW(StopText({""}), Error);
  EXPECT_THROW(StopText({"\xC3"}), Error);
}

}  // namespace
}  // namespace headscope
