// Gates of heads: their loss is that of runs with scaled heads, their slopes are its differences, and what is learned closes
// first what nobody needs.
#include "doctor/gates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "doctor/gradients.h"
#include "doctor/heal.h"
#include "doctor/prune.h"
#include "doctor/random_texts.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"
#include "models/tiny_decoder.h"
#include "train/tiny.h"

namespace headscope::doctor {
namespace {

// Loss of a full run in which every head is scaled, or moved towards its mean.
double loss_by_edits(const Baseline& base,
                     std::span<const double> gates,
                     std::span<const Tensor> means) {
  RunOptions options;
  const std::vector<HeadId> heads = heads_of(base.model());
  for (std::size_t h = 0; h < heads.size(); ++h) {
    Edit edit;
    edit.layer = heads[h].layer;
    edit.head = heads[h].head;
    edit.kind = means.empty() ? Edit::Kind::kScale : Edit::Kind::kReplace;
    edit.factor = static_cast<float>(gates[h]);
    if (!means.empty()) {
      // Of a layer below others the findings are not those of the baseline: only one layer is edited then.
      auto mixed = std::make_shared<Tensor>(base.findings(heads[h]));
      const auto rows = mixed->view<float, 2>();
      for (std::int64_t i = 0; i < rows.shape[0]; ++i) {
        for (std::int64_t d = 0; d < rows.shape[1]; ++d)
          rows(i, d) = static_cast<float>(
              gates[h] * double{rows(i, d)} +
              (1.0 - gates[h]) * double{means[h].span<float>()[static_cast<std::size_t>(d)]});
      }
      edit.replacement = std::move(mixed);
      if (gates[h] == 1.0) continue;
    }
    options.edits.push_back(std::move(edit));
  }
  Resume whole;
  whole.end = base.layers();
  options.outputs = false;
  options.resume = &whole;
  const headscope::Run run = base.model().run(base.copies(1), options);
  return judge(base, Judge(), run.last_hidden_state).front();
}

// Differences of the fourth order: what is left is rounding, 1e-6 of a loss over the step.
double slope_by_differences(GatedModel& gated,
                            const Tokens& text,
                            const std::vector<double>& gates,
                            std::size_t h) {
  constexpr double kStep = 1.0 / 256;
  const auto loss = [&](double steps) {
    std::vector<double> moved = gates;
    moved[h] += steps * kStep;
    return gated.loss(text, moved);
  };
  return (8.0 * (loss(1.0) - loss(-1.0)) - (loss(2.0) - loss(-2.0))) / (12.0 * kStep);
}

TEST(Gates, LossAndSlopesAreThoseOfScaledHeads) {
  for (const char* name : {"llama", "gpt2"}) {
    const Scratch scratch;
    train::Trainee::fresh(train::testing::config_of(name), 5).save(scratch.path());
    const Model model = Model::load(scratch.path().string());
    const Tokens text = copy_of(testing::random_texts(1, 12).front());
    const Baseline base(model, copy_of(text));
    GatedModel gated(model);
    std::vector<double> gates(gated.heads()), slopes(gated.heads());
    std::mt19937 random(7);
    for (double& gate : gates) gate = static_cast<double>(random() % 5) / 4.0;
    gates[1] = 0.0;  // closed, and yet with a slope
    const double loss = gated.loss(text, gates, slopes);
    EXPECT_NEAR(loss, loss_by_edits(base, gates, {}), 1e-5) << name;
    double most = 0.0;
    for (const double x : slopes) most = std::max(most, std::abs(x));
    EXPECT_GT(most, 1e-4) << name;
    EXPECT_NE(slopes[1], 0.0);
    for (std::size_t h = 0; h < gates.size(); ++h) {
      const double slope = slope_by_differences(gated, text, gates, h);
      EXPECT_NEAR(slopes[h], slope, 5e-4 + 2e-3 * most) << name << ", head " << h;
    }
    EXPECT_THROW((void)gated.loss(text, std::span(gates).first(2)), Error);
  }
}

TEST(Gates, MeansFoldIntoTheBias) {
  const Scratch scratch;
  train::Trainee::fresh(train::testing::config_of("gpt2"), 5).save(scratch.path());
  const Model model = Model::load(scratch.path().string());
  const Tokens text = copy_of(testing::random_texts(1, 12).front());
  const Baseline base(model, copy_of(text));
  std::vector<Tensor> means;
  std::mt19937 random(7);
  for (const HeadId id : heads_of(model)) {
    means.emplace_back(DType::kF32, Shape{model.attention(id.layer).value_width});
    for (float& x : means.back().span<float>()) x = static_cast<float>(random() % 100) / 50.0F;
  }
  GatedModel gated(model, means);
  std::vector<double> gates(gated.heads(), 1.0), slopes(gated.heads());
  gates[0] = 0.25, gates[1] = 0.0;  // both of layer 0
  EXPECT_NEAR(gated.loss(text, gates, slopes), loss_by_edits(base, gates, means), 1e-5);
  for (const std::size_t h : {std::size_t{0}, std::size_t{1}, gates.size() - 1}) {
    const double slope = slope_by_differences(gated, text, gates, h);
    EXPECT_NEAR(slopes[h], slope, 5e-4 + 2e-3 * std::abs(slope)) << h;
  }
  const test::TinyDecoder folder;  // a family without such a bias
  const Model llama = folder.load();
  EXPECT_THROW(GatedModel(llama, means), Error);
}

// A model that has learned its texts, and a head of it that says nothing.
class Learned {
 public:
  Learned() {
    const test::TinyDecoder folder;
    const Model fresh = folder.load();
    std::vector<Tokens> texts = testing::random_texts(4, 12);
    std::vector<std::int32_t> ids;
    for (const Tokens& text : texts)
      ids.insert(
          ids.end(), text.ids.span<std::int32_t>().begin(), text.ids.span<std::int32_t>().end());
    const Curve none = prune_curve(fresh, texts, Instead::kZero, {.points = 1});
    write_pruned(fresh, none, 1, Instead::kZero, scratch_ / "model");
    silent = none.order.front();
    HealOptions options;
    options.steps = 80;
    options.tokens = 48;
    options.length = 12;
    options.learning_rate = 1e-2;
    heal(scratch_ / "model", ids, options);
  }
  [[nodiscard]] Model load() const { return Model::load((scratch_ / "model").string()); }
  HeadId silent;

 private:
  Scratch scratch_;
};

TEST(Gates, CloseFirstWhatNobodyNeeds) {
  const Learned learned;
  const Model model = learned.load();
  const std::vector<Tokens> texts = testing::random_texts(4, 12);
  CurveOptions options;
  options.points = 8;
  std::vector<double> exact;
  for (const Order order : {Order::kHarm, Order::kGradient, Order::kGates}) {
    options.order = order;
    const Curve curve = prune_curve(model, texts, Instead::kZero, options);
    ASSERT_EQ(curve.order.size(), 8U);
    EXPECT_TRUE(std::is_sorted(curve.worth.begin(), curve.worth.end()));
    const auto at = std::find(curve.order.begin(), curve.order.end(), learned.silent);
    const auto place = static_cast<std::size_t>(at - curve.order.begin());
    if (order == Order::kHarm) {
      EXPECT_EQ(curve.worth[place], 0.0);  // not first: to lose another head can help
    } else {
      EXPECT_EQ(place, 0U) << static_cast<int>(order);
    }
    double area = 0.0;
    for (const Curve::Point& point : curve.points) area += point.harm;
    exact.push_back(area);
  }
  // All three put heads into an order that costs about as little as they go.
  EXPECT_GT(exact[0], 0.0);
  EXPECT_LT(exact[2], 1.5 * exact[0]);
}

TEST(Gates, SameSeedSameGates) {
  const Learned learned;
  const Model model = learned.load();
  const std::vector<Tokens> texts = testing::random_texts(2, 12);
  GatedModel gated(model);
  GateOptions options;
  options.steps = 20;
  const std::vector<double> once = learn_gates(gated, texts, options);
  EXPECT_EQ(once, learn_gates(gated, texts, options));
  options.seed = 2;
  EXPECT_NE(once, learn_gates(gated, texts, options));
  for (const double x : once) {
    EXPECT_GT(x, 0.0);
    EXPECT_LT(x, 1.0);
  }
  EXPECT_THROW((void)learn_gates(gated, {}, options), Error);
}

class Memory final : public Kept {
 public:
  [[nodiscard]] std::span<const double> find(std::size_t part, std::size_t count) const override {
    const auto found = parts.find(part);
    if (found == parts.end()) return {};
    EXPECT_EQ(found->second.size(), count);
    return found->second;
  }
  void add(std::size_t part, std::span<const double> numbers) override {
    EXPECT_TRUE(parts.emplace(part, std::vector<double>(numbers.begin(), numbers.end())).second);
  }
  std::map<std::size_t, std::vector<double>> parts;
};

TEST(Gates, LearningThatWasStoppedEndsAtTheSameBits) {
  const Learned learned;
  const Model model = learned.load();
  const std::vector<Tokens> texts = testing::random_texts(3, 12);
  GatedModel gated(model);
  GateOptions options;
  options.steps = 45;
  const std::vector<double> whole = learn_gates(gated, texts, options);
  Memory kept;
  options.kept = &kept;
  std::vector<std::int64_t> made;
  options.told = [&](std::int64_t done, std::int64_t) {
    made.push_back(done);
    if (done == 37) throw Error(ErrorCode::kResources, "[gates] interrupted");
  };
  EXPECT_THROW((void)learn_gates(gated, texts, options), Error);
  ASSERT_EQ(kept.parts.size(), 3U);
  EXPECT_TRUE(kept.parts.contains(10) && kept.parts.contains(20) && kept.parts.contains(30));
  made.clear();
  options.told = [&](std::int64_t done, std::int64_t) { made.push_back(done); };
  GatedModel other(model);  // as it is on another day
  EXPECT_EQ(learn_gates(other, texts, options), whole);
  EXPECT_EQ(made.front(), 31);
  EXPECT_EQ(made.back(), 45);
  EXPECT_TRUE(kept.parts.contains(45));
  made.clear();
  EXPECT_EQ(learn_gates(other, texts, options), whole);
  EXPECT_TRUE(made.empty());
}

TEST(Gates, ACurveTakesWhatWasKeptOfEachText) {
  const test::TinyDecoder folder;
  const Model model = folder.load();
  const std::vector<Tokens> texts = testing::random_texts(3, 12);
  for (const Order order : {Order::kHarm, Order::kGradient, Order::kGates}) {
    CurveOptions options;
    options.order = order;
    options.points = 2;
    options.gate_steps = 20;
    const Curve plain = prune_curve(model, texts, Instead::kZero, options);
    Memory kept;
    options.kept = &kept;
    for (int again = 0; again < 2; ++again) {  // Memory refuses what is there already
      const Curve curve = prune_curve(model, texts, Instead::kZero, options);
      EXPECT_EQ(curve.order, plain.order);
      EXPECT_EQ(curve.worth, plain.worth);
      EXPECT_EQ(kept.parts.size(), order == Order::kGates ? 2U : 3U);
    }
    kept.parts.erase(order == Order::kGates ? 20 : 1);
    EXPECT_EQ(prune_curve(model, texts, Instead::kZero, options).worth, plain.worth);
  }
}

}  // namespace
}  // namespace headscope::doctor
