INSERT INTO master_keys (key_id, sealed_check) VALUES
    ('373b2f09306215a2', x'01373b2f09306215a2f6d5c18f95959378f7c8c0baeddcbf0b87430b96202abe286add00e5a9ff32b919629ef32ecaf0656310f9043cc7df46ae70b9bd63c4f140f329bac057ee211dfc89d2bcff71d6ace62dc4e2b7eace363e3579034178e9a0ec57c6acd13c779d9355c37fcd995e1ca22655f783975d015c754838a612af50259915df');
INSERT OR REPLACE INTO grant_version (only, last) VALUES
    (1, 1);
INSERT INTO integrations (number, id, kind, owner, subject, account, authority, scopes, connected_at, declined) VALUES
    (1, 'int_00000000000000000001', 'google', 'alice', '101', 'alice@example.com', 'https://oauth2.example.com/token#client', 'a b', 1705314600000001, 'google.drive');
INSERT INTO integrations (number, id, kind, owner, subject, account, authority, scopes, connected_at, declined) VALUES
    (2, 'int_00000000000000000002', 'google', 'alice', '102', 'alice@example.com', 'https://oauth2.example.com/token#client', 'a b', 1705314600000001, '');
INSERT INTO integrations (number, id, kind, owner, subject, account, authority, scopes, connected_at, declined) VALUES
    (3, 'int_00000000000000000003', 'google', 'alice', '103', 'alice@example.com', 'https://oauth2.example.com/token#client', 'a b', 1705314600000001, '');
INSERT INTO integrations (number, id, kind, owner, subject, account, authority, scopes, connected_at, declined) VALUES
    (4, 'int_00000000000000000004', 'google-sa', 'alice', 'robot@example.com', 'robot@example.com', 'https://oauth2.example.com/token#client', 'a b', 1705314600000001, '');
INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, version, health, health_reason, secret) VALUES
    (65536, 1, NULL, NULL, 1705314605000001, 1705919399000001, 1, 'active', '', x'01373b2f09306215a2167fcbaaa12a34988d248da8099d54b04eafd346edf36d375541d2296f058dc715f46df7b7d4cfea2f43fa2f2f11bb7f9c1ee3f1306a2ecabf2559a2b7668842aef2aba511b611c9d846e0aec07449dba2ea8816555d6b6b4c942ef51b2022ab4d14a979b87ef6ace8716a51d0386783be42854de1');
INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, version, health, health_reason, secret) VALUES
    (65537, 1, 'a b', NULL, 1705314605000001, 1705318204000001, NULL, NULL, NULL, x'01373b2f09306215a28fbb16aa08dad9064b34b3604d13a080a80107a7903c801f5baca8fc43ae6a84365f699b4ed0005cac7120971b629c6a61a2ce5ff5cb9d05118c26eae1d09f5e083ffcd50586dd89b021f40c5c7a3a79a49eb3f30288c1eb0c4070901e8f93dc9e44a7920cdb55a9a85571f913b473b4b02ed21bf6');
INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, version, health, health_reason, secret) VALUES
    (131072, 2, NULL, NULL, 1705314606000001, 1705919399000001, 1, 'active', '', x'01373b2f09306215a29f957a37b1ece6817262f3c85170c7dd19ecf701aff9aa21554e78db7b731fc29d973d41dd8b6afa0e588b30e6a2e7216fe3fd1925dc38fda2910da490bed4e8edcbf35cc176010f5356fd749d5553e60a81e5f0891ba18e42d74b762081758f9309a6ebd46ded5ccb5d37b97eafffc7a42624ab04');
INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, version, health, health_reason, secret) VALUES
    (131073, 2, 'a b', NULL, 1705314605000001, 1705318204000001, NULL, NULL, NULL, x'01373b2f09306215a254fe58384c2ccd3355e194ec69e511d877da0a3e2ec90e81d5d20870b2f2f6613d6c5eb204a5edbf1d90973bd40a3d386455a0ab340e1b3a5f6a449f39b4921217fefe6ea82e625ab089d707adf30e47c10079b731996eb20e5a7f0cc18cb2c196b15dace7307c71531fedbe38a1dfbf29337a0067');
INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, version, health, health_reason, secret) VALUES
    (131074, 2, 'a c', 'a', 1705314606000001, 1705318205000001, NULL, NULL, NULL, x'01373b2f09306215a29324916266a8ffc45b24c2cb435aa60c41f485b0e6c2d60e0981559126e883c626a420e41bb8ab2df60e496baed4c21e7285cdc5a97f00261cc901dc15171d6f67a0cf260af466465c8d92acd6c292f3d24bfe318ac17e86f57f990e7e8e9d44b955345a53d320513a9cbd2e01db35b1d0d10a6d69');
INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, version, health, health_reason, secret) VALUES
    (196608, 3, NULL, NULL, 1705314605000001, 1705919399000001, 1, 'active', '', x'01373b2f09306215a2ebda8921e501944823d25d02948f8d4f6886c98f86f59eebc9911848443b64fe40c158ae72ea9c405333314ad97cbfd43309bade90292a259966a2dc42527189841a3632489e5d4500913baa52884645f4160cc7631536c7688375e13e692816bb26b225ff013bd46fdecd5fd1f23351605248614a');
INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, version, health, health_reason, secret) VALUES
    (196609, 3, 'a b', NULL, 1705314605000001, 1705318204000001, NULL, NULL, NULL, x'01373b2f09306215a2e9c87e405b9725dea64a04e167f9142981f4b87a61b4e6b39e864268652a33de00310471e460b58afb399357a7dbc995f41b509aee779ce9988000307a36baffc4b03a11b45459ac3b57c33541edb7e825ff4b12ac7fbb1e936683ca3d349e586d6ec8d1695cf9b1676303e7e4458db52d5780fd6c');
INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, version, health, health_reason, secret) VALUES
    (262144, 4, NULL, NULL, NULL, NULL, 1, 'misconfigured', 'the key was deleted', x'01373b2f09306215a2b1b9e07e99a2855944d4b64add28fcab793d84d9a2f01a0592086fdc154e08e6ab7ff5a822bf0d0b3af80fe548533061e57cda12585ab31f44c68532ab2a98f69b8442f7cd0b97e33b95b7aaff31c1366d987668ffcd2cce0d63ac8bd253d5d1bbfcb677f57aaf6c34add3371955e74c7a6408');
INSERT INTO renewals (place, started_at, attempts) VALUES
    (196608, 1705314609000001, 1);
INSERT INTO agents (name, manifest) VALUES
    ('bot', '{"agent":"bot","owner":"alice"}');
INSERT INTO agent_secrets (agent, secret) VALUES
    ('bot', x'01373b2f09306215a2ee721e335be1209eed1c2f306f320cc206cd453876eb59012cf6885a14dd2d35d802ef4aea3f06fbb55ff0c2aa4921553944a3ffe8da54cd426d10d0697467fa42f85966d3b6fa988230efd05a39eafbc549cfb58f727d5b1b0b0616ec750c1011664d78f6e6e4c27ec7bc9f248422dac571cd1889');
INSERT INTO revocations (id, owner, subject, account, authority, since, secret) VALUES
    ('int_00000000000000000005', 'alice', '105', 'alice@example.com', 'https://oauth2.example.com/token#client', 1705314609000001, x'01373b2f09306215a2be6a05f0f2ee40ab7d1afde145197ff68dd22f85954916164ad5995269667af9807467f7c655abc6c068a1e63b2aadc2ca35b4c7d6655ffaa82ab7dc4a3c7358ba6f2d3f85dbd3c3f657df992345e85f123e703cecb531368fd7a988696ec4a5e3ea0a62cfdc4c0bbce7fb868132fa4c832dd1b8a1');
