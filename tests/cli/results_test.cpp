// `doctor prune --results`: what was interrupted goes on to the same figures, and a file of anything else is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "cli/kept.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"
#include "models/tiny_decoder.h"
#include "models/tiny_words.h"

namespace headscope::cli {
namespace {

using nlohmann::json;

class PruneResults : public ::testing::Test {
 protected:
  PruneResults() {
    std::string text;
    for (int n = 0; n < 600; ++n) {
      text += 'w' + std::to_string(n * n % 37 + 1);
      text += n % 20 == 19 ? '\n' : ' ';
    }
    write_file(data_, std::string_view(text));
  }

  struct Said {
    int status = 0;
    std::string out, complaint;
  };
  [[nodiscard]] Said said(const std::vector<std::string>& more) const {
    std::vector<std::string> words{
        "doctor", "prune", folder_, "--data", data_.string(), "--pieces", "2", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"--lang", "en"});
    Said out;
    out.status = run(words, out.out, out.complaint);
    return out;
  }
  [[nodiscard]] json pruned(const std::string& order, std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"--order", order});
    const Said found = said(more);
    EXPECT_EQ(found.status, 0) << found.complaint;
    return json::parse(found.out);
  }
  [[nodiscard]] json kept(const std::string& order) const {
    return pruned(order, {"--results", results_.string()});
  }
  void refuse(const std::vector<std::string>& more, int status, const std::string& part) const {
    const std::string before = read_file(results_);
    std::vector<std::string> words{"--results", results_.string()};
    words.insert(words.end(), more.begin(), more.end());
    const Said found = said(words);
    EXPECT_EQ(found.status, status) << part;
    EXPECT_NE(found.complaint.find(part), std::string::npos) << found.complaint << " / " << part;
    EXPECT_EQ(found.complaint.find('\n'), std::string::npos);
    EXPECT_EQ(read_file(results_), before);
  }
  static std::string first_lines(const std::string& all, int lines) {
    std::size_t end = 0;
    for (; lines > 0; --lines) end = all.find('\n', end) + 1;
    return all.substr(0, end);
  }

  test::TinyDecoder tiny_;
  std::string folder_ = test::with_words(tiny_.folder(), 40);
  Scratch scratch_;
  std::filesystem::path data_ = scratch_ / "data.txt", results_ = scratch_ / "results";
};

TEST_F(PruneResults, WhatWasInterruptedGoesOn) {
  // Lines of a whole file: what it is of; two texts, or twenty states of gates.
  const std::vector<std::pair<const char*, int>> orders = {
      {"harm", 3}, {"gradient", 3}, {"gates", 21}};
  for (const auto& [order, lines] : orders) {
    std::filesystem::remove(results_);
    const json plain = pruned(order);
    EXPECT_EQ(kept(order), plain) << order;
    const std::string whole = read_file(results_);
    EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), lines) << order;
    EXPECT_EQ(kept(order), plain) << order;
    EXPECT_EQ(read_file(results_), whole) << order;
    // Stopped before the first part, behind it, in the middle of the last line; numbers come out as they were, to the bit.
    for (const std::string& some : {first_lines(whole, 1),
                                    first_lines(whole, 2),
                                    first_lines(whole, lines - 1),
                                    whole.substr(0, whole.size() - 30)}) {
      write_file(results_, std::string_view(some));
      EXPECT_EQ(kept(order), plain) << order;
      EXPECT_EQ(read_file(results_), whole) << order;
    }
  }
}

TEST_F(PruneResults, WhatIsDoneIsNotDoneAgain) {
  (void)kept("harm");
  const std::string whole = read_file(results_);
  const std::string before = first_lines(whole, 2);
  json changed = json::parse(whole.substr(before.size()));
  changed["numbers"][5] = 1e6;
  write_file(results_, before + changed.dump() + '\n');
  const json found = kept("harm");
  EXPECT_EQ(found.at("order").back().at("layer"), 1);
  EXPECT_EQ(found["order"].back().at("head"), 1);
  EXPECT_GT(found["order"].back().at("harm"), 1e5);
}

TEST_F(PruneResults, AFileOfOtherWishesIsRefused) {
  (void)kept("harm");
  const std::string whole = read_file(results_);
  const std::string other = "to hold results of headscope";
  refuse({"--order", "gradient"}, 2, other);
  refuse({"--order", "gates"}, 2, other);
  refuse({"--by", "mean"}, 2, other);
  refuse({"--pieces", "1"}, 2, other);
  write_file(data_, std::string_view("w1 w2 w3"));
  refuse({}, 2, other);
  write_file(results_, std::string_view("{\"precious\": 1}"));
  refuse({}, 3, "experiment");
  write_file(results_, std::string_view("no results\n"));
  refuse({}, 3, "results");
}

TEST_F(PruneResults, ALineThatIsNoPartIsRefused) {
  (void)kept("harm");
  const std::string first = first_lines(read_file(results_), 1);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"part": 0, "numbers": [1, 2]})", "expected 8 numbers of part 0, found 2"},
      {R"({"part": 0, "numbers": "all"})", "expected 8 numbers of part 0, found 1"},
      {R"({"part": -1, "numbers": []})", "part"},
      {R"({"part": 0})", "numbers"},
      {"[1, 2]", "results"},
      {"no line", "results"},
  };
  for (const auto& [line, part] : cases) {
    write_file(results_, first + line + '\n');
    refuse({}, 3, part);
  }
}

TEST_F(PruneResults, BuiltInSentencesNeedNoData) {
  const std::string planted = std::string(HEADSCOPE_BINARY_DIR) + "/models/planted";
  const std::vector<std::string> words{
      "doctor", "prune", planted, "--results", results_.string(), "--json"};
  const auto found = [&] {
    std::string out, complaint;
    EXPECT_EQ(run(words, out, complaint), 0) << complaint;
    return out;
  };
  const std::string once = found();
  const std::string whole = read_file(results_);
  EXPECT_NE(whole.find("built-in sentences"), std::string::npos);
  EXPECT_EQ(found(), once);
  EXPECT_EQ(read_file(results_), whole);
}

// A kill at the first write leaves a part of a line: nothing was done yet.
TEST_F(PruneResults, AFirstLineThatWasCutShortIsAnEmptyFile) {
  const json want = kept("harm");
  const std::string all = read_file(results_);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{20}, all.find('\n')}) {
    write_file(results_, std::string_view(all).substr(0, bytes));
    EXPECT_EQ(kept("harm").at("order"), want.at("order"));
    EXPECT_EQ(read_file(results_), all);
  }
}

TEST_F(PruneResults, OneProgramHasTheFileAlone) {
  (void)kept("harm");
  const std::string first = read_file(results_).substr(0, read_file(results_).find('\n'));
  const KeptParts other(
      results_.string(), "prune", json::parse(first).at("experiment").get<std::string>());
  refuse({"--order", "harm"}, exit_status(ErrorCode::kResources), "in use by another");
}

// Weights alone do not say what a model does.
TEST_F(PruneResults, AnotherConfigIsAnotherModel) {
  (void)kept("harm");
  const std::filesystem::path config = std::filesystem::path(folder_) / "config.json";
  std::string text = read_file(config);
  text.insert(text.find('{') + 1, "\"rms_norm_eps\": 1.0, ");
  write_file(config, std::string_view(text));
  refuse({"--order", "harm"}, 2, "found those of");
}

}  // namespace
}  // namespace headscope::cli
