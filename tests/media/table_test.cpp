// Tables of comma-separated values, and numbers as the tokens of a model.
#include "headscope/table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <random>
#include <set>

#include "headscope/error.h"
#include "headscope/media.h"

namespace headscope {
namespace {

void expect_error(const std::string& text, ErrorCode code, const std::string& words) {
  try {
    const Table table = parse_csv(text, "t.csv");
    (void)columns_of(table, {});
    FAIL() << "no error for " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(Csv, QuotesLineEndsBomAndMissingValues) {
  const Table t = parse_csv(
      "\xEF\xBB\xBF"
      "month,\"co2, \"\"ppm\"\"\",note\r\n"
      "1961-03,\"315.5\",\"two\nlines\"\r\n"
      "\r\n"
      "1961-04,NA,\r\n"
      "1961-05, -1.5e2 ,x",
      "co2.csv");
  ASSERT_EQ(t.columns.size(), 3U);
  EXPECT_EQ(t.columns[1].name, "co2, \"ppm\"");
  EXPECT_EQ(t.rows, (std::vector<std::string>{"1961-03", "1961-04", "1961-05"}));
  EXPECT_EQ(t.index, 0);
  ASSERT_TRUE(t.columns[1].numeric());
  EXPECT_EQ(t.columns[1].values[0], 315.5);
  EXPECT_TRUE(std::isnan(t.columns[1].values[1]));
  EXPECT_EQ(t.columns[1].values[2], -150.0);
  EXPECT_FALSE(t.columns[2].numeric());
  EXPECT_EQ(t.columns[2].line, 2);
  EXPECT_EQ(columns_of(t, {}), std::vector<std::size_t>{1});
}

TEST(Csv, SemicolonsTabsAndDecimalCommas) {
  const Table a = parse_csv("a;b\n1;2,5\n2;-3,25\n", "a.csv");
  EXPECT_EQ(a.columns[1].values, (std::vector<double>{2.5, -3.25}));
  const Table b = parse_csv("a\tb\n1\t\n2\t4\n", "b.tsv");
  EXPECT_TRUE(std::isnan(b.columns[1].values[0]));
  EXPECT_EQ(b.columns[1].values[1], 4.0);
}

TEST(Csv, RowsAreNamedByYearsElseCounted) {
  EXPECT_EQ(parse_csv("year,x\n1700,5\n1701,11\n", "y").rows[1], "1701");
  EXPECT_EQ(parse_csv("u,v\n2,1\n1,1\n", "n").rows[1], "2");
  EXPECT_EQ(parse_csv("x\n5\n6\n", "one").index, -1);
}

TEST(Csv, WhatOnlyCountsIsNotTheFirstChoice) {
  const auto chosen = [](const std::string& text) {
    const Table t = parse_csv(text, "t");
    return t.columns[columns_of(t, {}).front()].name;
  };
  // Years that stay, quarters that begin anew.
  EXPECT_EQ(chosen("year,quarter,gdp\n1959,3,9\n1959,4,8\n1960,1,9\n1960,2,7\n1960,3,7\n"), "gdp");
  // Few cases a day are figures, and so is what never changes.
  EXPECT_EQ(chosen("cases,temp\n3,9\n3,8\n4,9\n5,7\n"), "cases");
  EXPECT_EQ(chosen("price,temp\n3,9\n3,8\n3,9\n3,7\n"), "price");
  EXPECT_EQ(chosen("at,temp\n3,9\n4,8\n5,9\n6,7\n"), "temp");
  EXPECT_EQ(chosen("year,quarter\n1959,3\n1959,4\n1960,1\n1960,2\n"), "year");
  // The newest first.
  EXPECT_EQ(chosen("year,quarter,gdp\n1960,2,9\n1960,1,8\n1959,4,9\n1959,3,7\n"), "gdp");
  EXPECT_EQ(chosen("at,year,gdp\n4,2020,9\n3,2019,8\n2,2018,9\n1,2017,7\n"), "gdp");
  // What turns, leaps, is no whole number or lacks one is more than a count.
  for (const std::string x : {"1,2,3,2", "1,2,4,5", "1,1.5,2,3", "0,1,0,1", "1,2,,3"}) {
    std::string text = "date,x,y\n";
    for (std::size_t i = 0, row = 0; i <= x.size(); ++row) {
      const std::size_t end = std::min(x.find(',', i), x.size());
      text += 'd' + std::to_string(row) + ',' + x.substr(i, end - i) + ",7.5\n";
      i = end + 1;
    }
    EXPECT_EQ(chosen(text), "x") << x;
  }
  const std::vector<std::string> asked = {"year"};
  const Table t = parse_csv("year,x\n1,5\n1,6\n2,5\n", "t");
  EXPECT_EQ(columns_of(t, asked), std::vector<std::size_t>{0});
}

TEST(Csv, NamesThatAreTooLongKeepWholeLetters) {
  std::string name;
  for (int i = 0; i < 40; ++i) name += "ж";
  const std::string odd = 'x' + name;
  const Table t = parse_csv("row," + odd + "\n" + name + ",1\n" + odd + ",2\n", "long");
  EXPECT_EQ(t.rows[0], name.substr(0, 64));
  EXPECT_EQ(t.rows[1], odd.substr(0, 63));
  // Columns are asked for by their names: those that begin alike are told apart.
  const Table alike = parse_csv("row," + odd + "a," + odd + "b\nx,1,2\n", "alike");
  const std::vector<std::string> asked = {odd + 'b'};
  EXPECT_EQ(columns_of(alike, asked), std::vector<std::size_t>{2});
  const std::vector<std::string> neither = {odd};
  EXPECT_THROW((void)columns_of(alike, neither), Error);
  expect_error("a,b\n1," + odd + "\n", ErrorCode::kInput, "found \"" + odd.substr(0, 39) + '"');
}

TEST(Csv, ErrorsNameLineAndColumn) {
  expect_error("", ErrorCode::kInput, "empty file");
  expect_error("\n\n", ErrorCode::kInput, "empty file");
  expect_error("a,b\n", ErrorCode::kInput, "found none");
  expect_error("1,2\n3,4\n", ErrorCode::kInput, "header");
  expect_error("a,b\n1,2\n3\n", ErrorCode::kFormat, "expected 2 fields in line 3, found 1");
  expect_error("a,b\r\n\r\n\"1\n\",2\r\n3\r\n", ErrorCode::kFormat, "in line 5, found 1");
  expect_error("a,b\n1,\"2\n", ErrorCode::kFormat, "a quote that ends");
  expect_error("a,b\n1,2\"3\n", ErrorCode::kFormat, "one inside");
  expect_error(
      "name,kind\nfoo,bar\n", ErrorCode::kInput, "column \"kind\", found \"bar\" in line 2");
  expect_error("a,b\n1,\"" + std::string(std::size_t{3} << 20, 'x'), ErrorCode::kFormat, "1 MiB");
  const Table t = parse_csv("a,b\n1,2\n", "t");
  const std::vector<std::string> other = {"c"};
  EXPECT_THROW((void)columns_of(t, other), Error);
}

TEST(Csv, OnlyTheLastRowsStay) {
  std::string text = "n,x\n";
  for (int i = 0; i < 50000; ++i) text += std::to_string(i) + "," + std::to_string(2 * i) + "\n";
  TableOptions options;
  options.last_rows = 100;
  options.most_cells = 1000;
  const Table t = parse_csv(text, "long.csv", options);
  ASSERT_EQ(t.rows.size(), 100U);
  EXPECT_EQ(t.rows.front(), "49900");
  EXPECT_EQ(t.first_row, 49900);
  EXPECT_EQ(t.columns[1].values.back(), 99998.0);
  options.last_rows = 0;
  EXPECT_THROW((void)parse_csv(text, "long.csv", options), Error);
}

TEST(Csv, BlocksMayCutAnywhere) {  // a field lies over the border of two blocks
  const std::string text = "a,b\n1," + std::string(65529, ' ') + "25\r\n3,\"4\"\r\n";
  const Table t = parse_csv(text, "t");
  EXPECT_EQ(t.columns[1].values, (std::vector<double>{25.0, 4.0}));
}

TEST(Csv, HostileFilesAreReadOrRefusedInOneLine) {
  std::set<std::string> read;
  for (const auto& entry :
       std::filesystem::directory_iterator(HEADSCOPE_SOURCE_DIR "/tests/hostile/csv")) {
    try {
      const Table table = read_csv(entry.path());
      (void)ids_of(table, columns_of(table, {}), NumberCode{});
      read.insert(entry.path().stem().string());
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << entry.path();
    }
  }
  EXPECT_EQ(read, (std::set<std::string>{"good", "not_utf8", "one_cell", "semicolons"}));
}

// The names that follow, a space behind each.
std::string after(const std::vector<std::string>& rows, std::int64_t count = 2) {
  std::string out;
  for (const std::string& row : rows_after(rows, count)) out += row + ' ';
  return out;
}

// first, first + 1, ...
std::vector<std::string> counted(int first, int rows) {
  std::vector<std::string> out;
  for (int i = 0; i < rows; ++i) out.push_back(std::to_string(first + i));
  return out;
}

TEST(Rows, DatesAndNumbersGoOnWhereTheirStepIsRegular) {
  EXPECT_EQ(after({"2020-02-27", "2020-02-28", "2020-02-29"}), "2020-03-01 2020-03-02 ");
  EXPECT_EQ(after({"20011215", "20011222", "20011229"}), "20020105 20020112 ");
  EXPECT_EQ(after({"2020-07-01", "2020-08-01", "2020-09-01"}), "2020-10-01 2020-11-01 ");
  EXPECT_EQ(after({"31.01.2020", "29.02.2020", "31.03.2020"}), "30.04.2020 31.05.2020 ");
  EXPECT_EQ(after({"Oct-1-2015", "Nov-1-2015", "Dec-1-2015"}), "Jan-1-2016 Feb-1-2016 ");
  EXPECT_EQ(after({"2020/01/01", "2020/04/01", "2020/07/01"}), "2020/10/01 2021/01/01 ");
  EXPECT_EQ(after({"1961-10", "1961-11", "1961-12"}), "1962-01 1962-02 ");
  EXPECT_EQ(after({"1961Q2", "1961Q3", "1961Q4"}), "1962Q1 1962Q2 ");
  EXPECT_EQ(after({"1700", "1701", "1702"}), "1703 1704 ");
  for (const std::vector<std::string>& rows :
       std::vector<std::vector<std::string>>{{"2020-01-01", "2020-01-02", "2020-01-04"},
                                             {"2020-02-30", "2020-02-31", "2020-02-32"},
                                             {"Mar-257-1961", "Mar-258-1961", "Mar-259-1961"},
                                             {"3", "2", "1"},
                                             {"2001", "2002-01", "2003"},
                                             {"one", "two", "three"},
                                             {"2001", "2002"}}) {
    EXPECT_EQ(after(rows), "") << rows.back();
  }
}

TEST(Rows, SixDigitsAreMonthsWhereAllOfThemFit) {
  EXPECT_EQ(after({"202211", "202212", "202301"}), "202302 202303 ");
  EXPECT_EQ(after({"202209", "202212", "202303"}), "202306 202309 ");
  // Within one year it may be either, and a wrong name is worse than none.
  EXPECT_EQ(after(counted(202301, 12)), "");
  EXPECT_EQ(after(counted(200001, 11)), "");
  EXPECT_EQ(after(counted(100001, 11)), "100012 100013 ");
  EXPECT_EQ(after({"2021-02-28", "2022-02-28", "2023-02-28"}), "2024-02-28 2025-02-28 ");
  EXPECT_EQ(after({"2018-02-28", "2019-02-28", "2020-02-29", "2021-02-28"}, 3),
            "2022-02-28 2023-02-28 2024-02-29 ");
  EXPECT_EQ(after({"2019-02-28", "2020-02-29", "2021-02-28"}), "2022-02-28 2023-02-28 ");
  EXPECT_EQ(after(counted(202311, 3)), "202314 202315 ");
  EXPECT_EQ(after(counted(202310, 30)), "202340 202341 ");
  EXPECT_EQ(after(counted(20001230, 3)), "20001233 20001234 ");
  EXPECT_EQ(after({"000101", "000102", "000103"}), "");
}

TEST(Rows, ADecimalNumberIsNoMonth) {
  EXPECT_EQ(after({"2000.10", "2000.11", "2000.12"}), "");
  EXPECT_EQ(after({"2020.02.28", "2020.02.29", "2020.03.01"}), "2020.03.02 2020.03.03 ");
}

TEST(Rows, TheYear9999IsTheLast) {
  EXPECT_EQ(after({"0001-01-01", "5000-01-01", "9999-01-01"}, 8), "");
  EXPECT_EQ(after({"9999-12-28", "9999-12-29", "9999-12-30"}, 8), "9999-12-31 ");
  EXPECT_EQ(after({"31.08.9999", "30.09.9999", "31.10.9999"}, 8), "30.11.9999 31.12.9999 ");
  EXPECT_EQ(after({"9999-09", "9999-10", "9999-11"}, 8), "9999-12 ");
  EXPECT_EQ(after({"9999Q1", "9999Q2", "9999Q3"}, 8), "9999Q4 ");
  EXPECT_EQ(after(counted(99991227, 5), 8), "");  // Monday to Friday
  EXPECT_EQ(after(counted(9997, 3)), "10000 10001 ");
}

TEST(Rows, WorkingDaysGoOnWithoutWeekends) {
  EXPECT_EQ(after(counted(20240108, 5)), "20240115 20240116 ");
  EXPECT_EQ(after({"2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09"}, 5),
            "2024-01-10 2024-01-11 2024-01-12 2024-01-15 2024-01-16 ");
  // Before 1970, by name.
  EXPECT_EQ(after({"Dec-22-1969", "Dec-23-1969", "Dec-24-1969", "Dec-25-1969", "Dec-26-1969"}, 6),
            "Dec-29-1969 Dec-30-1969 Dec-31-1969 Jan-1-1970 Jan-2-1970 Jan-5-1970 ");
  // Holidays on 25 December and 1 January.
  EXPECT_EQ(after({"2023-12-18",
                   "2023-12-19",
                   "2023-12-20",
                   "2023-12-21",
                   "2023-12-22",
                   "2023-12-26",
                   "2023-12-27",
                   "2023-12-28",
                   "2023-12-29",
                   "2024-01-02"}),
            "2024-01-03 2024-01-04 ");
}

TEST(Rows, OtherDaysOfTheWeekAreNoWorkingDays) {
  EXPECT_EQ(after(counted(20240108, 6)), "20240114 20240115 ");  // Saturday is there
  EXPECT_EQ(after(counted(20240108, 4)), "20240112 20240113 ");
  // Tuesday to Thursday.
  EXPECT_EQ(after({"20240109", "20240110", "20240111", "20240116", "20240117", "20240118"}), "");
  // Every other working day; and a hole of a week.
  EXPECT_EQ(after({"20240108", "20240110", "20240112", "20240116", "20240118"}), "");
  EXPECT_EQ(after({"20240108", "20240109", "20240110", "20240111", "20240112", "20240122"}), "");
}

TEST(Rows, DaysKeepTheirZero) {
  EXPECT_EQ(after({"Jan-01-2009", "Jan-02-2009", "Jan-03-2009"}), "Jan-04-2009 Jan-05-2009 ");
  EXPECT_EQ(after({"Jan 08 2009", "Jan 15 2009", "Jan 22 2009"}), "Jan 29 2009 Feb 05 2009 ");
  EXPECT_EQ(after({"Jan/8/2009", "Jan/15/2009", "Jan/22/2009"}), "Jan/29/2009 Feb/5/2009 ");
}

TEST(Numbers, ABinIsTheNearestCentre) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> some(-14.9, 14.9);
  for (const std::int32_t bins : {2, 16, 255, 4094}) {
    NumberCode code;
    code.bins = bins;
    const double step = (code.high - code.low) / (bins - 1);
    for (int i = 0; i < 200; ++i) {
      const double x = some(random);
      const std::int32_t id = id_of(3.0 * x, {0.0, 3.0}, code);
      EXPECT_LE(std::abs(value_of(id, {0.0, 3.0}, code) - 3.0 * x), 3.0 * step / 2 * (1 + 1e-9));
    }
    EXPECT_EQ(id_of(1e300, {}, code), code.first + bins - 1);
    EXPECT_EQ(id_of(-1e300, {}, code), code.first);
    EXPECT_EQ(id_of(std::nan(""), {}, code), code.missing);
    EXPECT_TRUE(std::isnan(value_of(code.start, {}, code)));
    EXPECT_THROW((void)value_of(code.vocabulary(), {}, code), Error);
  }
}

TEST(Numbers, SpreadIsTheMeanSizeOrTheDeviationOfWhatIsThere) {
  const double nan = std::nan("");
  const NumberCode plain;
  EXPECT_DOUBLE_EQ(spread_of(std::vector<double>{1.0, -3.0, nan}, plain).scale, 2.0);
  EXPECT_DOUBLE_EQ(spread_of(std::vector<double>{0.0, 0.0}, plain).scale, 1.0);
  EXPECT_DOUBLE_EQ(spread_of(std::vector<double>{1e308, 1e308}, plain).scale, 1e308);
  // Parts of the least double are 0, and 0 / 0 is no bin.
  for (const bool centre : {false, true}) {
    NumberCode code;
    code.centred = centre;
    const std::vector<double> tiny = {
        0.0, 0.0, 0.0, std::numeric_limits<double>::denorm_min(), 0.0};
    const Spread spread = spread_of(tiny, code);
    EXPECT_GT(spread.scale, 0.0);
    for (const double x : tiny) {
      EXPECT_GE(id_of(x, spread, code), code.first);
      EXPECT_LT(id_of(x, spread, code), code.vocabulary());
    }
  }
  NumberCode centred;
  centred.centred = true;
  const Spread far = spread_of(std::vector<double>{1001.0, nan, 1003.0}, centred);
  EXPECT_DOUBLE_EQ(far.centre, 1002.0);
  EXPECT_NEAR(far.scale, 1.0, 1e-9);
  EXPECT_DOUBLE_EQ(spread_of(std::vector<double>{7.1, 7.1, 7.1}, centred).scale, 1.0);
  EXPECT_DOUBLE_EQ(spread_of(std::vector<double>{1e308, -1e308}, centred).scale, 1e308);
  EXPECT_NEAR(value_of(id_of(1002.4, far, centred), far, centred), 1002.4, far.scale * 30 / 2046);
}

TEST(Numbers, RowsThenColumnsWithLabels) {
  const Table t = parse_csv("month,co2,temp\n1961-03,2,10\n1961-04,,30\n", "t");
  const std::vector<std::size_t> both = {1, 2};
  const NumberCode code;
  const Numbers n = ids_of(t, both, code);
  ASSERT_EQ(n.ids.size(), 5U);
  EXPECT_EQ(n.ids[0], code.start);
  EXPECT_EQ(n.ids[3], code.missing);
  EXPECT_EQ(n.labels[2].text, "row 1961-03, column temp");
  EXPECT_EQ(n.labels[4].row, 1);
  EXPECT_EQ(n.labels[4].column, 1);
  EXPECT_DOUBLE_EQ(n.spreads[1].scale, 20.0);
  EXPECT_EQ(n.ids[4], id_of(30.0, {0.0, 20.0}, code));
  EXPECT_EQ(ids_of(t, both, code, 1).ids.size(), 3U);
}

TEST(SequenceCode, ReadsWhatMediaJsonSays) {
  const SequenceCode notes =
      SequenceCode::parse(R"({"kind": "notes", "lowest": 36, "highest": 81})", "m");
  ASSERT_TRUE(notes.notes.has_value());
  EXPECT_EQ(notes.notes->vocabulary(), 3 + 46);
  const SequenceCode numbers = SequenceCode::parse(R"({"kind": "numbers", "bins": 500})", "m");
  EXPECT_EQ(numbers.numbers->vocabulary(), 503);
  EXPECT_EQ(SequenceCode::parse(R"({"kind": "bytes"})", "m").bytes, 0);
  EXPECT_THROW((void)SequenceCode::parse(R"({"kind": "smells"})", "m"), Error);
  EXPECT_THROW((void)SequenceCode::parse(R"({"kind": "notes", "voices": []})", "m"), Error);
  EXPECT_THROW((void)SequenceCode::parse(R"({"kind": "numbers", "bins": 1})", "m"), Error);
  EXPECT_THROW((void)SequenceCode::parse(R"({"kind": "notes", "rest": -4})", "m"), Error);
}

}  // namespace
}  // namespace headscope
