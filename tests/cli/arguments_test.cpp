#include "cli/arguments.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "headscope/error.h"

namespace headscope::cli {
namespace {

using Strings = std::vector<std::string>;

Call call() {
  Call out;
  out.verb = "see";
  return out;
}

ErrorCode code_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::kInternal;
}

TEST(Arguments, HeadsAreLayerDotHead) {
  const auto heads = parse_heads(call(), "--head", Strings{"3.5,4.2", "0.11"});
  EXPECT_EQ(heads, (std::vector<HeadId>{{3, 5}, {4, 2}, {0, 11}}));
  for (const std::string bad : {"",
                                "3",
                                "3.",
                                ".5",
                                "3.5.",
                                "3,5",
                                "3.5,",
                                "a.b",
                                "-1.2",
                                "1.-2",
                                " 3.5",
                                "3.5 ",
                                "99999999999.1",
                                "3.x"}) {
    EXPECT_EQ(code_of([&] { parse_heads(call(), "--head", Strings{bad}); }), ErrorCode::kUsage)
        << bad;
  }
}

TEST(Arguments, EditsNameEveryHeadOnce) {
  const auto edits = parse_edits(call(), Strings{"0.1,0.2"}, Strings{"1.0"}, Strings{"2.3=-0.5"});
  ASSERT_EQ(edits.size(), 4U);
  EXPECT_EQ(edits[0].kind, Edit::Kind::kZero);
  EXPECT_EQ(edits[2].kind, Edit::Kind::kMean);
  EXPECT_EQ(edits[3].kind, Edit::Kind::kScale);
  EXPECT_EQ(edits[3].factor, -0.5F);
  EXPECT_EQ(edits[3].layer, 2);
  EXPECT_EQ(code_of([] { parse_edits(call(), Strings{"0.1"}, Strings{"0.1"}, {}); }),
            ErrorCode::kUsage);
  for (const std::string bad : {"0.1", "0.1=", "0.1=x", "=1", "0.1=inf", "0.1=nan"}) {
    EXPECT_EQ(code_of([&] { parse_edits(call(), {}, {}, Strings{bad}); }), ErrorCode::kUsage)
        << bad;
  }
}

TEST(Arguments, NumbersKeepToTheirRange) {
  EXPECT_EQ(parse_integer(call(), "--top", "7", 1, 32), 7);
  for (const std::string bad : {"0", "33", "7.0", "seven", "", "0x7"}) {
    EXPECT_EQ(code_of([&] { parse_integer(call(), "--top", bad, 1, 32); }), ErrorCode::kUsage)
        << bad;
  }
}

TEST(Arguments, ANumberOutsideItsRangeNamesTheRange) {
  EXPECT_EQ(check_range(call(), "-n", 0, 0, 8), 0);
  EXPECT_EQ(check_range(call(), "-n", 8, 0, 8), 8);
  for (const std::int64_t wrong : {-1, 9}) {
    try {
      check_range(call(), "-n", wrong, 0, 8);
      ADD_FAILURE() << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      EXPECT_EQ(error.what(),
                "[see] expected -n a whole number from 0 to 8, found " + std::to_string(wrong));
    }
  }
}

TEST(Arguments, TextIsAFileWhenThereIsOne) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("headscope-arguments-" + std::to_string(::getpid()));
  std::ofstream(path) << "\xEF\xBB\xBFThe king\n";
  EXPECT_EQ(read_input(call(), Strings{path.string()}), "The king");
  std::filesystem::remove(path);
  EXPECT_EQ(code_of([&] { read_input(call(), Strings{path.string()}); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([] { read_input(call(), Strings{"story.txt"}); }), ErrorCode::kNotFound);
  EXPECT_EQ(read_input(call(), Strings{"The", "old", "king"}), "The old king");
  EXPECT_EQ(read_input(call(), Strings{"and/or"}), "and/or");
}

TEST(Arguments, ANameOfAFileThatIsNotThereIsNoSentence) {
  for (const std::string name : {"examples/no-king.conllu",
                                 "c.conllu.xz",
                                 "table.CSV",
                                 "tune.mid",
                                 "texts.xz",
                                 "clip.M4V",
                                 "/none",
                                 "./none"}) {
    EXPECT_TRUE(is_missing_file(Strings{name})) << name;
    EXPECT_EQ(code_of([&] { check_input(call(), Strings{name}); }), ErrorCode::kNotFound) << name;
  }
  for (const Strings& said :
       {Strings{"-"}, {"and/or"}, {"king"}, {".csv"}, {"see a.csv"}, {"a.csv", "b"}}) {
    EXPECT_FALSE(is_missing_file(said)) << said[0];
    EXPECT_NO_THROW(check_input(call(), said)) << said[0];
  }
  Call walk = call();
  walk.verb = "walk";
  try {
    check_input(walk, Strings{"none.txt"});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("headscope walk MODEL -"), std::string::npos)
        << error.what();
  }
}

TEST(Arguments, OutputsAreCheckedBeforeAnyWork) {
  const auto folder = std::filesystem::temp_directory_path();
  check_writable(call(), folder / "page.html");
  EXPECT_EQ(code_of([&] { check_writable(call(), folder); }), ErrorCode::kUsage);
  EXPECT_EQ(code_of([&] { check_writable(call(), folder / "no-such-folder" / "page.html"); }),
            ErrorCode::kIo);
}

TEST(Arguments, ParserKnowsItsOptionsAndNoOthers) {
  const auto parse = [](const Strings& words, Strings& rest, Strings& heads) {
    Parser parser("see", Lang::kEn);
    parser.positionals(rest);
    parser.repeated("--head", heads);
    return parser.parse(words);
  };
  Strings rest;
  Strings heads;
  const Call parsed =
      parse({"planted", "--head", "0.1", "The king", "--head=0.2", "--json", "--width", "100"},
            rest,
            heads);
  EXPECT_EQ(rest, (Strings{"planted", "The king"}));
  EXPECT_EQ(heads, (Strings{"0.1", "0.2"}));
  EXPECT_TRUE(parsed.json);
  EXPECT_EQ(parsed.screen.width, 100);
  for (const Strings& bad : {Strings{"--bogus"},
                             {"--head"},
                             {"--width", "3"},
                             {"--color", "pink"},
                             {"--threads", "0"}}) {
    Strings r;
    Strings h;
    EXPECT_EQ(code_of([&] { parse(bad, r, h); }), ErrorCode::kUsage) << bad[0];
  }
  Strings dashed;
  parse({"planted", "--", "--head"}, dashed, heads);
  EXPECT_EQ(dashed, (Strings{"planted", "--head"}));
}

}  // namespace
}  // namespace headscope::cli
