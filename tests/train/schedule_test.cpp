#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <resnext/train/schedule.hpp>

#include "files.hpp"

using namespace resnext;
using testing::message_of;

TEST_CASE("step decay divides exactly at the milestones") {
  const Schedule rate = Schedule::step_decay(0.1, {30, 60, 90});
  CHECK(rate(0) == 0.1);
  CHECK(rate(29) == 0.1);
  CHECK(rate(30) == doctest::Approx(0.01));
  CHECK(rate(59) == doctest::Approx(0.01));
  CHECK(rate(60) == doctest::Approx(0.001));
  CHECK(rate(90) == doctest::Approx(0.0001));
  CHECK(rate(1'000'000'000'000) == doctest::Approx(0.0001));
  CHECK(Schedule::step_decay(0.3, {})(12345) == 0.3);
}

TEST_CASE("a cosine starts at its rate, passes half at half time, ends at the last rate and stays there") {
  const Schedule rate = Schedule::cosine(0.4, 1000, 0.002);
  CHECK(rate(0) == 0.4);
  CHECK(rate(500) == doctest::Approx(0.201));
  CHECK(rate(1000) == doctest::Approx(0.002));
  CHECK(rate(5000) == rate(1000));
  for (int step = 1; step <= 1000; ++step) CHECK(rate(step) < rate(step - 1));
}

TEST_CASE("warm-up rises linearly and leaves the rest as it is") {
  const Schedule plain = Schedule::step_decay(1.0, {50}), warm = plain.warmed_up(10);
  for (int step = 0; step < 10; ++step) CHECK(warm(step) == doctest::Approx((step + 1) / 10.0));
  for (int step = 10; step < 100; ++step) CHECK(warm(step) == plain(step));
  const Schedule cosine = Schedule::cosine(1.0, 100);
  for (int step = 0; step < 10; ++step)
    CHECK(cosine.warmed_up(10)(step) == doctest::Approx(cosine(step) * (step + 1) / 10));
  for (int step = 10; step < 100; ++step) CHECK(cosine.warmed_up(10)(step) == cosine(step));
}

TEST_CASE("the paper's schedules") {
  const Schedule imagenet = paper_imagenet_schedule(5005);
  CHECK(imagenet(30 * 5005 - 1) == 0.1);
  CHECK(imagenet(30 * 5005) == doctest::Approx(0.01));
  CHECK(imagenet(60 * 5005) == doctest::Approx(0.001));
  CHECK(imagenet(90 * 5005) == doctest::Approx(0.0001));
  const Schedule cifar = paper_cifar_schedule(391);
  CHECK(cifar(150 * 391 - 1) == 0.1);
  CHECK(cifar(150 * 391) == doctest::Approx(0.01));
  CHECK(cifar(225 * 391) == doctest::Approx(0.001));
}

TEST_CASE("impossible schedules are refused") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(message_of<OptionError>([] {
          Schedule::step_decay(0.1, {60, 30});
        }) == "schedule: milestones must ascend from 1, found 30 after 60");
  CHECK(message_of<OptionError>([] { Schedule::step_decay(0.1, {0}); }) != "");
  CHECK(message_of<OptionError>([&] { Schedule::step_decay(nan, {}); }) ==
        "schedule: expected a positive rate, found nan");
  CHECK(message_of<OptionError>([] { Schedule::step_decay(0.1, {5}, 0); }) ==
        "schedule: expected a positive factor, found 0");
  CHECK(message_of<OptionError>([] { Schedule::cosine(-1, 10); }) == "schedule: expected a positive rate, found -1");
  CHECK(message_of<OptionError>([] { Schedule::cosine(0.1, 0); }) ==
        "schedule: a cosine needs at least 1 step, found 0");
  CHECK(message_of<OptionError>([] { Schedule::cosine(0.1, 10, -0.5); }) ==
        "schedule: expected a last rate from 0, found -0.5");
  CHECK(message_of<OptionError>([] { Schedule::cosine(0.1, 10).warmed_up(-1); }) ==
        "schedule: expected a warm-up of 0 or more steps, found -1");
}
