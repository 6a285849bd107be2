#include "headscope/generate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/tiny_decoder.h"

namespace headscope {
namespace {

std::vector<std::int32_t> first_ids(std::size_t n) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<std::int32_t>((7 * i + 3) % 40));
  return ids;
}

std::vector<std::int32_t> greedy(const Model& model, std::vector<std::int32_t> ids, int steps) {
  std::vector<std::int32_t> out;
  for (int n = 0; n < steps; ++n) {
    Tokens tokens;
    tokens.ids = Tensor(DType::kI32, {1, static_cast<std::int64_t>(ids.size())});
    std::copy(ids.begin(), ids.end(), tokens.ids.span<std::int32_t>().begin());
    const headscope::Run run = model.run(tokens);
    const auto logits = run.logits.view<float, 3>();
    const float* last = &logits(0, logits.shape[1] - 1, 0);
    out.push_back(static_cast<std::int32_t>(std::max_element(last, last + logits.shape[2]) - last));
    ids.push_back(out.back());
  }
  return out;
}

TEST(Generate, GreedyAnswerIsTheLargestLogitOfEveryWholeRun) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.most = 12;
  options.block = 3;  // the prompt comes in uneven blocks
  Generator generator(model, options);
  generator.read(first_ids(8));
  while (generator.step()) {
  }
  EXPECT_EQ(generator.answer(), greedy(model, first_ids(8), 12));
  EXPECT_EQ(generator.ended(), Ended::kMost);
}

TEST(Generate, SequencesThatGrowTogetherAreThoseThatGrowAlone) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.most = 9;
  Generator both(model, options, 2);
  both.read(first_ids(11), 0);
  both.read(first_ids(4), 1);
  while (both.step()) {
  }
  EXPECT_EQ(both.answer(0), greedy(model, first_ids(11), 9));
  EXPECT_EQ(both.answer(1), greedy(model, first_ids(4), 9));
}

TEST(Generate, ATalkGoesOnWhereItsBeginningIsKept) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.most = 4;
  Generator generator(model, options);
  generator.read(first_ids(6));
  while (generator.step()) {
  }
  std::vector<std::int32_t> all = first_ids(6);
  all.insert(all.end(), generator.answer().begin(), generator.answer().end());
  all.push_back(9);
  generator.read(all);
  while (generator.step()) {
  }
  EXPECT_EQ(generator.answer(), greedy(model, all, 4));
  // Another beginning: nothing of the old one is left.
  generator.read(first_ids(5));
  while (generator.step()) {
  }
  EXPECT_EQ(generator.answer(), greedy(model, first_ids(5), 4));
}

TEST(Generate, ASightRecordsEveryStepWithoutChangingIt) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  const Sight sight;
  GenerateOptions options;
  options.most = 3;
  options.sight = &sight;
  Generator generator(model, options);
  generator.read(first_ids(5));
  std::int64_t length = 5;
  while (generator.step()) {
    ASSERT_EQ(generator.sighting().layers.size(), static_cast<std::size_t>(model.layers()));
    EXPECT_EQ(generator.sighting().layers[0].keys, length);
    ++length;
  }
  EXPECT_EQ(generator.answer(), greedy(model, first_ids(5), 3));
}

TEST(Generate, AnEditChangesTheAnswerAsItChangesARun) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.most = 1;
  for (int h = 0; h < model.heads(); ++h) options.edits.emplace_back().head = h;
  Generator edited(model, options);
  edited.read(first_ids(7));
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, 7});
  const auto ids = first_ids(7);
  std::copy(ids.begin(), ids.end(), tokens.ids.span<std::int32_t>().begin());
  RunOptions run;
  run.edits = options.edits;
  const headscope::Run whole = model.run(tokens, run);
  const auto expected = whole.logits.view<float, 3>();
  for (std::int64_t v = 0; v < expected.shape[2]; ++v)
    EXPECT_NEAR(edited.logits()[static_cast<std::size_t>(v)], expected(0, 6, v), 1e-5F);
}

TEST(Generate, APromptPastThePositionsSaysByHowMuch) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.positions = 6;
  Generator generator(model, options);
  try {
    generator.read(first_ids(9));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInput);
    EXPECT_NE(std::string(error.what()).find("3 too many"), std::string::npos) << error.what();
  }
  generator.read(first_ids(5));
  while (generator.step()) {
  }
  EXPECT_EQ(generator.ended(), Ended::kFull);
  EXPECT_EQ(generator.answer().size(), 2U);
}

TEST(Generate, ASequenceThatSlidesOnIsARunOfWhatItKeeps) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  for (const std::int64_t positions : {2, 3, 7, 10}) {
    const auto half = static_cast<std::ptrdiff_t>(positions / 2);
    GenerateOptions options;
    options.positions = positions;
    options.slide = true;
    options.most = 40;
    Generator generator(model, options);
    const std::vector<std::int32_t> prompt =
        first_ids(static_cast<std::size_t>(std::min<std::int64_t>(positions, 6)));
    generator.read(prompt);
    std::vector<std::int32_t> all = prompt;
    std::vector<std::int32_t> kept = prompt;
    while (generator.step()) {
      const std::int32_t next = generator.answer().back();
      ASSERT_EQ(next, greedy(model, kept, 1).front()) << positions << ' ' << all.size();
      for (std::size_t i = 0; i < kept.size(); ++i) {
        const auto number =
            static_cast<std::size_t>(generator.number_of(static_cast<std::int64_t>(i)));
        ASSERT_EQ(kept[i], all.at(number));
      }
      if (static_cast<std::int64_t>(kept.size()) == positions)
        kept.erase(kept.begin() + 1, kept.end() - (half - 1));
      kept.push_back(next);
      all.push_back(next);
    }
    EXPECT_EQ(generator.answer().size(), 40U);
    EXPECT_EQ(generator.ended(), Ended::kMost);
  }
  GenerateOptions options;
  options.positions = 1;
  options.slide = true;
  EXPECT_THROW(Generator(model, options), Error);
}

TEST(Generate, SequencesSlideOnOneByOne) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  GenerateOptions options;
  options.positions = 9;
  options.slide = true;
  options.most = 25;
  const auto alone = [&](std::size_t n) {
    Generator one(model, options);
    one.read(first_ids(n));
    while (one.step()) {
    }
    return one.answer();
  };
  Generator both(model, options, 2);
  both.read(first_ids(7), 0);
  both.read(first_ids(4), 1);
  while (both.step()) {
  }
  EXPECT_EQ(both.answer(0), alone(7));
  EXPECT_EQ(both.answer(1), alone(4));
}

TEST(Generate, ForesightIsTheMeanOfWholeRuns) {
  const test::TinyDecoder tiny;
  const Model model = tiny.load();
  const auto ids = first_ids(20);
  const Foresight found = foresight(model, ids, {}, 0, 7);
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, {1, 20});
  std::copy(ids.begin(), ids.end(), tokens.ids.span<std::int32_t>().begin());
  const headscope::Run run = model.run(tokens);
  const auto logits = run.logits.view<float, 3>();
  double sum = 0.0;
  for (std::int64_t i = 0; i < 19; ++i) {
    double z = 0.0;
    for (std::int64_t v = 0; v < logits.shape[2]; ++v) z += std::exp(double{logits(0, i, v)});
    sum += std::log(z) - double{logits(0, i, ids[static_cast<std::size_t>(i) + 1])};
  }
  EXPECT_EQ(found.tokens, 19);
  EXPECT_NEAR(found.nll, sum / 19.0, 1e-5);
  EXPECT_NEAR(found.perplexity(), std::exp(sum / 19.0), 1e-3);
  EXPECT_THROW((void)foresight(model, first_ids(1)), Error);
}

}  // namespace
}  // namespace headscope
