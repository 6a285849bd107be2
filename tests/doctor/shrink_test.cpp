// Heads that leave the file: the smaller model gives what the whole one gives without them, in every layout there is.
#include "doctor/shrink.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "doctor/laws.h"
#include "doctor/random_texts.h"
#include "formats/json.h"
#include "headscope/train.h"
#include "models/gguf_convert.h"
#include "models/resized.h"
#include "train/tiny.h"

namespace headscope::doctor {
namespace {

// A tiny model drawn by chance, its biases as well.
class Drawn {
 public:
  explicit Drawn(const std::string& name) {
    train::Trainee trainee = train::Trainee::fresh(train::testing::config_of(name), 5);
    std::mt19937 random(9);
    for (train::Parameter& p : trainee.parameters()) {
      if (!p.decays) {
        for (float& x : p.value.span<float>()) x += static_cast<float>(random() % 100) / 300.0F;
      }
    }
    trainee.save(scratch_ / "whole");
  }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
    return scratch_ / name;
  }
  [[nodiscard]] Model load(const std::string& name) const {
    return Model::load((scratch_ / name).string());
  }
  [[nodiscard]] json::Value config(const std::string& name) const {
    return json::parse(read_file(scratch_ / name / "config.json", 1 << 20), "config.json");
  }

 private:
  Scratch scratch_;
};

Curve order_of(const Model& model, const std::vector<HeadId>& heads, const Tokens& text) {
  const Baseline base(model, copy_of(text));
  Curve out;
  for (const HeadId id : heads) {
    const Tensor found = base.findings(id);
    Tensor mean = Tensor::zeros(DType::kF32, {found.dim(1)});
    for (std::int64_t n = 0; n < found.size(); ++n)
      mean.span<float>()[static_cast<std::size_t>(n % found.dim(1))] +=
          found.span<float>()[static_cast<std::size_t>(n)] / static_cast<float>(found.dim(0));
    out.order.push_back(id);
    out.means.push_back(std::move(mean));
  }
  return out;
}

// What is left of them is what the zeroed model gives, and its file is smaller by their numbers.
void expect_same(const Drawn& drawn, const Curve& curve, Instead instead, const Tokens& text) {
  const Model model = drawn.load("whole");
  const std::size_t gone = curve.order.size();
  write_pruned(model, curve, gone, instead, drawn / "zeros");
  const Written written =
      write_pruned(model, curve, gone, instead, drawn / "smaller", Shapes::kShrink);
  EXPECT_LT(written.after, written.before);
  const Model smaller = drawn.load("smaller");
  const headscope::Run want = drawn.load("zeros").run(text);
  const headscope::Run found = smaller.run(text);
  EXPECT_LE(laws::apart(found.last_hidden_state, want.last_hidden_state), 1e-5);
  EXPECT_GT(laws::apart(found.last_hidden_state, model.run(text).last_hidden_state), 1e-2);
  std::size_t left = 0;
  for (int l = 0; l < model.layers(); ++l)
    left += static_cast<std::size_t>(model.heads(l) - smaller.heads(l));
  EXPECT_EQ(left, written.left);
}

TEST(Shrink, GivesWhatTheZeroedModelGives) {
  const Tokens text = std::move(testing::random_texts(1, 20).front());
  for (const std::string name : {"gpt2", "bert", "modernbert", "modernbert_biased"}) {
    for (const Instead instead : {Instead::kZero, Instead::kMean}) {
      if (instead == Instead::kMean && name == "modernbert") continue;  // no bias to hold means
      SCOPED_TRACE(name + (instead == Instead::kMean ? ", means" : ", zeros"));
      const Drawn drawn(name);
      const Model model = drawn.load("whole");
      expect_same(drawn, order_of(model, {{0, 1}, {1, 3}, {1, 0}}, text), instead, text);
      const json::Value lost = drawn.config("smaller").at("pruned_heads");
      EXPECT_EQ(lost.dump(), R"({"0":[1],"1":[0,3]})");
      EXPECT_EQ(drawn.load("smaller").heads(1), 2);
    }
  }
}

// What the heads that stay look at is what they looked at: 1.1 is now 1.0.
TEST(Shrink, HeadsThatStayMoveUpAndLookAsBefore) {
  const Drawn drawn("gpt2");
  const Tokens text = std::move(testing::random_texts(1, 20).front());
  const Model model = drawn.load("whole");
  const Curve curve = order_of(model, {{0, 2}, {1, 0}}, text);
  write_pruned(model, curve, 2, Instead::kZero, drawn / "smaller", Shapes::kShrink);
  const headscope::Run before = laws::look(model, text);
  const headscope::Run after = laws::look(drawn.load("smaller"), text);
  std::vector<float> was(20), is(20);
  for (const auto& [old, now] : {std::pair{0, 0}, std::pair{1, 1}, std::pair{3, 2}}) {
    for (std::int64_t i = 0; i < 20; ++i) {
      before.sighting.layers[0].row(0, old, i, was);
      after.sighting.layers[0].row(0, now, i, is);
      for (std::size_t j = 0; j < 20; ++j) ASSERT_NEAR(is[j], was[j], 1e-5F) << old << ' ' << i;
    }
  }
}

TEST(Shrink, ALayerKeepsAHeadAndASecondTimeCountsFromTheFirst) {
  const Drawn drawn("bert");
  const Tokens text = std::move(testing::random_texts(1, 20).front());
  const Model model = drawn.load("whole");
  // All of layer 0: the one that is missed most stays, silent.
  expect_same(
      drawn, order_of(model, {{0, 3}, {0, 0}, {0, 1}, {0, 2}, {1, 1}}, text), Instead::kMean, text);
  const Model smaller = drawn.load("smaller");
  EXPECT_EQ(smaller.heads(0), 1);
  EXPECT_EQ(smaller.heads(1), 3);
  // 1.1 is what 1.2 was.
  const Curve again = order_of(smaller, {{1, 1}}, text);
  write_pruned(smaller, again, 1, Instead::kZero, drawn / "twice", Shapes::kShrink);
  EXPECT_EQ(drawn.config("twice").at("pruned_heads").dump(), R"({"0":[0,1,3],"1":[1,2]})");
  EXPECT_EQ(drawn.load("twice").heads(1), 2);
}

// A model with fewer heads in some layers answers from a cache, sweeps and trains as any other.
TEST(Shrink, TheSmallerModelIsAModelAsAnyOther) {
  const Drawn drawn("gpt2");
  const Tokens text = std::move(testing::random_texts(1, 12).front());
  {
    const Model model = drawn.load("whole");
    const Curve curve = order_of(model, {{0, 2}, {0, 1}, {1, 0}}, text);
    write_pruned(model, curve, 3, Instead::kZero, drawn / "smaller", Shapes::kShrink);
  }
  const Model smaller = drawn.load("smaller");
  const headscope::Run whole = smaller.run(text);
  KvCache cache = smaller.cache(DType::kF32, 16);
  RunOptions options;
  options.caches = {&cache};
  for (std::int64_t i = 0; i < 12; ++i) {
    Tokens one;
    one.ids = Tensor(DType::kI32, {1, 1});
    one.ids.span<std::int32_t>()[0] = text.ids.span<std::int32_t>()[static_cast<std::size_t>(i)];
    const headscope::Run step = smaller.run(one, options);
    for (std::int64_t v = 0; v < 40; ++v)
      ASSERT_NEAR(step.logits.span<float>()[static_cast<std::size_t>(v)],
                  whole.logits.span<float>()[static_cast<std::size_t>(i * 40 + v)],
                  2e-5F);
  }
  const std::vector<Tokens> texts = testing::random_texts(2, 12);
  EXPECT_EQ(prune_curve(smaller, texts, Instead::kZero, {.points = 2}).order.size(), 5U);
  train::Trainee trainee = train::Trainee::load(drawn / "smaller");
  const train::Batch batch = train::testing::text_batch(trainee, {7, 5}, 3);
  EXPECT_GT(trainee.step(batch, {}).sum_nats, 0.0);
  trainee.save(drawn / "trained");
  EXPECT_EQ(drawn.load("trained").heads(0), 2);
}

// A GGUF file has GPT-2's matrices the other way round than its folder, which is what is written.
TEST(Shrink, AGgufFileGivesWhatItsFolderGives) {
  const Drawn drawn("gpt2");
  const Tokens text = std::move(testing::random_texts(1, 20).front());
  models::convert_to_gguf(drawn / "whole", drawn / "whole.gguf", DType::kF32);
  const Model folder = drawn.load("whole"), gguf = drawn.load("whole.gguf");
  const Curve curve = order_of(folder, {{0, 1}, {1, 3}, {1, 0}}, text);
  for (const Instead instead : {Instead::kZero, Instead::kMean}) {
    write_pruned(folder, curve, 3, instead, drawn / "want");
    const Tensor want = std::move(drawn.load("want").run(text).last_hidden_state);
    for (const Shapes shapes : {Shapes::kStay, Shapes::kShrink}) {
      write_pruned(gguf, curve, 3, instead, drawn / "found", shapes);
      EXPECT_LE(laws::apart(drawn.load("found").run(text).last_hidden_state, want), 1e-5);
      std::filesystem::remove_all(drawn / "found");
    }
    std::filesystem::remove_all(drawn / "want");
  }
}

// Of one head a layer none can leave: it is silent, and the file is as any other.
TEST(Shrink, WhereNothingLeavesConfigSaysNothing) {
  const Drawn drawn("bert");
  const Tokens text = std::move(testing::random_texts(1, 20).front());
  const Curve curve = order_of(drawn.load("whole"), {{0, 0}, {0, 1}, {0, 2}, {0, 3}}, text);
  write_pruned(drawn.load("whole"), curve, 3, Instead::kZero, drawn / "one", Shapes::kShrink);
  const Model one = drawn.load("one");
  const Curve last = order_of(one, {{0, 0}}, text);
  const json::Value before = drawn.config("one");
  EXPECT_EQ(write_pruned(one, last, 1, Instead::kZero, drawn / "none", Shapes::kShrink).left, 0U);
  EXPECT_EQ(drawn.config("none"), before);
}

TEST(Shrink, HeadsThatCannotLeaveAloneStay) {
  const Drawn drawn("llama");
  const Model model = drawn.load("whole");
  try {
    check_prunable(model, Instead::kZero, Shapes::kShrink);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("share keys and values"), std::string::npos)
        << error.what();
  }
  EXPECT_NO_THROW(check_prunable(model, Instead::kZero));
}

TEST(Shrink, TaughtHeadsGetTheirNewNumbers) {
  json::Value config{{"taught_heads", {{"3.0", "a"}, {"3.2", "b"}, {"3.5", "c"}, {"1.7", "d"}}}};
  name_leaving({{3, {1, 2}}}, config);
  EXPECT_EQ(config.at("taught_heads").dump(), R"({"1.7":"d","3.0":"a","3.3":"c"})");
}

TEST(Shrink, WhatConfigSaysIsChecked) {
  models::Sizes four_to_two;
  four_to_two.heads = 2;
  const Drawn drawn("gpt2");
  const std::pair<const char*, const char*> wrong[] = {
      {R"([1])", "to be an object of layers"},
      {R"({"x": [1]})", "a number of a layer"},
      {R"({"2": [1]})", "layers 0..1"},
      {R"({"0": [4]})", "fewer than all of heads 0..3"},
      {R"({"0": [-1]})", "fewer than all of heads 0..3"},
      {R"({"1": [0, 1, 2, 3]})", "fewer than all of heads 0..3"},
      {R"({"0": ["1"]})", "integer"},
      {R"({"0": [1]})", "attn.c_attn"},  // the file has all of them
  };
  for (const auto& [word, complaint] : wrong) {
    json::Value config = drawn.config("whole");
    config["pruned_heads"] = json::parse(word, "word");
    write_file(drawn / "whole" / "config.json", std::string_view(config.dump()));
    try {
      (void)drawn.load("whole");
      FAIL() << word;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(complaint), std::string::npos) << error.what();
    }
  }
  json::Value config = drawn.config("whole");
  config["pruned_heads"] = {{"0", {1}}};
  EXPECT_THROW((void)models::resized(config, four_to_two), Error);
  config["pruned_heads"] = {{"0", json::Value::array()}};  // as most published files say it
  write_file(drawn / "whole" / "config.json", std::string_view(config.dump()));
  EXPECT_NO_THROW((void)drawn.load("whole"));
  EXPECT_NO_THROW((void)models::resized(config, four_to_two));
}

}  // namespace
}  // namespace headscope::doctor
